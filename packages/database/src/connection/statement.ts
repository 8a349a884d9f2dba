import { endOfComment } from '@fastify-tenancy/postgres/client'
import { LRUCache } from 'lru-cache'
import { createHash } from 'node:crypto'

import { QueryRefusedError } from '../options/errors.ts'
import { makesTable } from './select-into.ts'

/** What the driver knows of a statement from its text alone. */
export interface Statement {
  /** The keyword it begins with, in upper case. */
  readonly keyword: string
  readonly isAllowed: boolean
  /** Whether it takes a lock that would outlive its transaction. */
  readonly takesSessionLock: boolean
  /** Whether it is `SELECT … INTO`, which makes a table. */
  readonly makesTable: boolean
  /** Stands for the text in records of prepared statements. '' where the text is too long to be kept. */
  readonly name: string
}

/** What a handle may send: statements on rows, and nothing that ends the transaction or outlives it. */
export const rowKeywords: ReadonlySet<string> = new Set(['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'MERGE',
  'WITH', 'VALUES', 'TABLE'])

/** The command tags of {@link rowKeywords}. */
export const rowTags: ReadonlySet<string> = new Set(['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'MERGE'])

const known = new LRUCache<string, Statement>({ max: 2_000 })

/**
 * Longer texts are not kept, here or by the server. They are lists (rows to insert, ids to look for), of which
 * each length is a text of its own: whoever chooses the length would fill our memory and that of each backend.
 */
const longestKept = 10_000

/** Reads a statement's text; the answer is kept, since an application has few texts and sends them often. */
export function readStatementText (text: string): Statement {
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
 * Like {@link readStatementText}, for what a tenant's handle is to run.
 *
 * @param isPooled whether a pooler's backend runs it: a table that it made would be another tenant's to see before the answer comes
 * @throws FST_TENANCY_QUERY_REFUSED
 */
export function readAllowed (text: string, isPooled: boolean): Statement {
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
      "A tenant's handle takes no lock of the session, which would outlive its statement: use pg_advisory_xact_lock() in a transaction"
    )
  if (makesTable && isPooled)
    throw new QueryRefusedError("A tenant's handle makes no tables, got SELECT … INTO")
  return statement
}

// Those of a transaction (pg_advisory_xact_lock) end with it.
const sessionLock = /\bpg_(?:try_)?advisory_lock/i

/** The first word behind white space, comments and opening parentheses, in upper case; '' where there is none. */
function firstKeyword (text: string): string {
  let at = 0
  for (;;) {
    const before = at
    at += /^[\s(]*/.exec(text.slice(at))?.[0].length ?? 0
    if (text.startsWith('--', at)) {
      const end = text.indexOf('\n', at)
      at = end < 0 ? text.length : end + 1
    } else if (text.startsWith('/*', at)) {
      at = endOfComment(text, at)
    }
    if (at === before) break
  }
  return /^[A-Za-z]+/.exec(text.slice(at))?.[0].toUpperCase() ?? ''
}
