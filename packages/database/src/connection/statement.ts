import { endOfComment } from '@fastify-tenancy/postgres/client'
import { LRUCache } from 'lru-cache'
import { createHash } from 'node:crypto'

import { QueryRefusedError } from '../options/errors.ts'
import { makesTable } from './select-into.ts'

/** The properties of a statement that its text alone shows. */
export interface StatementText {
  /** The first keyword, in upper case. */
  readonly keyword: string
  readonly isAllowed: boolean
  /** Whether it takes a session lock, which would outlive its transaction. */
  readonly takesSessionLock: boolean
  /** Whether it is `SELECT … INTO`, which creates a table. */
  readonly makesTable: boolean
  /**
   * The text's hash, used as key in records of prepared statements; '' if the text is too long to
   * be kept.
   */
  readonly name: string
}

/**
 * The keywords that a handle may send: row statements, none of which ends the transaction or
 * outlives it.
 */
const rowKeywords: ReadonlySet<string> = new Set(['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'MERGE', 'WITH',
  'VALUES', 'TABLE'])

/** The command tags of {@link rowKeywords}. */
export const rowTags: ReadonlySet<string> = new Set(['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'MERGE'])

const known = new LRUCache<string, StatementText>({ max: 2_000 })

/**
 * Longest text that this process and the server keep. Longer texts are lists (rows to insert, ids),
 * and each length is another text. A caller who chooses the length would fill the memory of this
 * process and of each backend.
 */
const longestKept = 10_000

/**
 * Returns the properties of a text. They are cached, because an application sends few texts, often.
 */
export function readStatementText (text: string): StatementText {
  const old = known.get(text)
  if (old !== undefined) return old
  const keyword = firstKeyword(text)
  const isKept = text.length <= longestKept
  const statement = {
    keyword,
    isAllowed: rowKeywords.has(keyword),
    takesSessionLock: sessionLock.test(text),
    makesTable: makesTable(text),
    name: isKept ? `t_${createHash('sha256').update(text).digest('base64url').slice(0, 24)}` : ''
  }
  if (isKept) known.set(text, statement)
  return statement
}

/**
 * Like {@link readStatementText}, but refuses texts that a tenant's handle must not run.
 *
 * @param isPooled whether a pooler's backend runs it; another tenant could then see a created table
 * before the reply arrives
 * @throws FST_TENANCY_QUERY_REFUSED
 */
export function readAllowed (text: string, isPooled: boolean): StatementText {
  const statement = readStatementText(text)
  const { isAllowed, keyword, takesSessionLock, makesTable } = statement
  if (!isAllowed)
    throw new QueryRefusedError(
      `A tenant's handle runs SELECT, INSERT, UPDATE, DELETE and MERGE only, got ${
        keyword || 'no keyword'
      }: use the transaction methods of Kysely, and migrations for the rest`
    )
  if (takesSessionLock)
    throw new QueryRefusedError(
      "A tenant's handle takes no lock of the session, which would outlive its statement: " +
        'use pg_advisory_xact_lock() in a transaction'
    )
  if (makesTable && isPooled)
    throw new QueryRefusedError("A tenant's handle makes no tables, got SELECT … INTO")
  return statement
}

// Locks of a transaction (pg_advisory_xact_lock) end with it, so they do not match.
const sessionLock = /\bpg_(?:try_)?advisory_lock/i

/**
 * Returns the first word after white space, comments and opening parentheses, in upper case; '' if
 * there is none.
 */
function firstKeyword (text: string): string {
  let at = 0
  for (;;) {
    const before = at
    at += /^[\s(]*/.exec(text.slice(at))?.[0].length ?? 0
    if (text.startsWith('--', at)) {
      // PostgreSQL ends a line at a carriage return, too. Otherwise `--\rdo $$ begin\nselect` would
      // count as a SELECT.
      at += /^[^\n\r]*/.exec(text.slice(at))?.[0].length ?? 0
    } else if (text.startsWith('/*', at)) {
      at = endOfComment(text, at)
    }
    if (at === before) break
  }
  // No keyword is longer. The word is in errors and is the name of a span.
  return /^[A-Za-z]{1,30}/.exec(text.slice(at))?.[0].toUpperCase() ?? ''
}
