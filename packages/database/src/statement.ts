import { createHash } from 'node:crypto'

import { LRUCache } from 'lru-cache'

/** What the driver knows of a statement from its text alone. */
export interface Statement {
  /** The keyword it begins with, in upper case. */
  readonly keyword: string
  readonly isAllowed: boolean
  /** Whether it takes a lock that would outlive its transaction. */
  readonly takesSessionLock: boolean
  /** Whether its connection must not serve anybody afterwards. */
  readonly mayChangeSession: boolean
  /** Whether it may ask for the last value of a sequence: that is the session's, and so the last borrower's. */
  readonly mayAskSequences: boolean
  /** A name to prepare it under: the same text always has the same one. '' where the text is too long to be kept. */
  readonly name: string
}

/** What a handle may send: statements on rows, and nothing that ends the transaction or outlives it. */
export const rowKeywords: ReadonlySet<string> = new Set(['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'MERGE', 'WITH', 'VALUES', 'TABLE'])

/** The command tags of {@link rowKeywords}. */
export const rowTags: ReadonlySet<string> = new Set(['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'MERGE'])

const known = new LRUCache<string, Statement>({ max: 2_000 })

/**
 * Longer texts are not kept, here or by the server. They are lists (rows to insert, ids to look for), of which
 * each length is a text of its own: whoever chooses the length would fill our memory and that of each backend.
 */
const longestKept = 10_000

/** Reads a statement's text; the answer is kept, since an application has few texts and sends them often. */
export function readStatement (text: string): Statement {
  const old = known.get(text)
  if (old !== undefined) return old
  const keyword = firstKeyword(text)
  const isKept = text.length <= longestKept
  const statement = {
    keyword,
    isAllowed: rowKeywords.has(keyword),
    takesSessionLock: sessionLock.test(text),
    mayChangeSession: sessionWords.test(text),
    // Words that change a session are those by which a text is run, too.
    mayAskSequences: sequenceWords.test(text) || sessionWords.test(text),
    name: isKept ? `t_${createHash('sha256').update(text).digest('base64url').slice(0, 24)}` : ''
  }
  if (isKept) known.set(text, statement)
  return statement
}

/*
 * A select can call a function that changes its session (`set_config(…, false)`, an advisory lock, a signal to another
 * backend), by name or through a function that runs a text; an update of the view pg_settings does as well. No such effect may reach the next borrower, and few of them
 * can be seen from outside: a connection that ran a text with one of these words, or with an escape that could
 * hide one, is not used again. It costs a reconnect to those who call such functions, and nothing to the rest.
 */
const sessionWords = /set_config|pg_settings|pg_(?:try_)?advisory_|pg_(?:terminate|cancel)_backend|(?:query|cursor|table|schema|database)_to_xml|ts_stat|ts_rewrite|crosstab|dblink|U&["']/i

// Those of a transaction (pg_advisory_xact_lock) end with it.
const sessionLock = /\bpg_(?:try_)?advisory_lock/i

const sequenceWords = /lastval|currval/i

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

/** Where the comment ends that begins at `start`: PostgreSQL's nest. */
export function endOfComment (text: string, start: number): number {
  const marks = /\/\*|\*\//g
  marks.lastIndex = start
  let depth = 0
  for (let mark = marks.exec(text); mark !== null; mark = marks.exec(text)) {
    depth += mark[0] === '/*' ? 1 : -1
    if (depth === 0) return marks.lastIndex
  }
  return text.length
}
