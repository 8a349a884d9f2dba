import { endOfComment } from '@fastify-tenancy/postgres/client'
import pg from 'pg'

import { readStatementText } from '../connection/statement.ts'

/** Transaction control that a `pg` client supports. */
export type Control =
  | { readonly kind: 'begin'; readonly modes: string }
  | { readonly kind: 'modes'; readonly modes: string }
  | { readonly kind: 'commit' | 'rollback' }
  | { readonly kind: 'savepoint' | 'release' | 'rollback to'; readonly name: string }

const controlKeywords: ReadonlySet<string> = new Set(['BEGIN', 'START', 'COMMIT', 'END', 'ROLLBACK', 'ABORT',
  'SAVEPOINT', 'RELEASE', 'SET'])

const levels = 'serializable|repeatable read|read committed|read uncommitted'
const mode = `isolation level (?:${levels})|read only|read write|(?:not )?deferrable`
const modes = `(?: (?<modes>(?:${mode})(?:(?: ,)? (?:${mode}))*))?`
const noise = '(?: (?:work|transaction))?'

const begin = new RegExp(`^(?:begin${noise}|start transaction)${modes}$`)
const setModes = new RegExp(`^set transaction${modes}$`)
const commit = new RegExp(`^(?:commit|end)${noise}(?: and no chain)?$`)
const rollback = new RegExp(`^(?:rollback|abort)${noise}(?: and no chain)?$`)
const savepoint = /^savepoint \?$/
const release = /^release(?: savepoint)? \?$/
const rollbackTo = new RegExp(`^rollback${noise} to(?: savepoint)? \\?$`)

/**
 * Returns the transaction control in a text that contains nothing else; undefined for every other
 * text. Other texts follow the rules of a tenant's handle, which refuse `commit; begin`,
 * `COMMIT AND CHAIN` and `PREPARE TRANSACTION`.
 */
export function readControl (text: string): Control | undefined {
  const { keyword } = readStatementText(text)
  if (!controlKeywords.has(keyword)) return undefined
  const words = split(text)
  if (words === undefined) return undefined
  const all = words.map(({ word }) => word).join(' ')
  const begun = begin.exec(all)
  if (begun !== null) return { kind: 'begin', modes: begun.groups?.['modes'] ?? '' }
  const set = setModes.exec(all)?.groups?.['modes']
  if (set !== undefined) return { kind: 'modes', modes: set }
  if (commit.test(all)) return { kind: 'commit' }
  if (rollback.test(all)) return { kind: 'rollback' }
  const last = words.at(-1)
  if (last === undefined) return undefined
  const named = [...words.slice(0, -1).map(({ word }) => word), '?'].join(' ')
  if (savepoint.test(named)) return { kind: 'savepoint', name: last.name }
  if (release.test(named)) return { kind: 'release', name: last.name }
  if (rollbackTo.test(named)) return { kind: 'rollback to', name: last.name }
  return undefined
}

/** Returns the command tag that PostgreSQL gives a control statement. */
export function tagOf ({ kind }: Control, keyword: string): string {
  if (kind === 'begin') return keyword === 'START' ? 'START TRANSACTION' : 'BEGIN'
  if (kind === 'modes') return 'SET'
  return kind === 'rollback to' ? 'ROLLBACK' : kind.toUpperCase()
}

/** An error in PostgreSQL's form, for control that never reaches the server. */
export class ControlError extends pg.DatabaseError {
  constructor (message: string, code: string) {
    super(message, 0, 'error')
    this.severity = 'ERROR'
    this.code = code
  }
}

interface Word {
  /** The word in lower case. A quoted name keeps its quotes, so that it equals no keyword. */
  readonly word: string
  /** The word's meaning as an identifier. */
  readonly name: string
}

const token = /\s+|--[^\n\r]*|(?<plain>[A-Za-z_][\w$]*)|"(?<quoted>(?:[^"\0]|"")+)"|(?<comma>,)/y

/**
 * Returns the words of a text; undefined if it contains anything but words before a final
 * semicolon.
 */
function split (text: string): readonly Word[] | undefined {
  const words: Word[] = []
  const scan = new RegExp(token)
  for (let at = 0; at < text.length;) {
    if (text.startsWith('/*', at)) {
      at = endOfComment(text, at)
      continue
    }
    if (text[at] === ';') return text.slice(at + 1).trim() === '' ? words : undefined
    scan.lastIndex = at
    const groups = scan.exec(text)?.groups
    if (groups === undefined) return undefined
    at = scan.lastIndex
    const { plain, quoted, comma } = groups
    // Fold ASCII letters only, as PostgreSQL does.
    if (plain !== undefined) words.push({ word: plain.toLowerCase(), name: plain.toLowerCase() })
    else if (quoted !== undefined)
      words.push({ word: `"${quoted}"`, name: quoted.replaceAll('""', '"') })
    else if (comma !== undefined) words.push({ word: comma, name: '' })
  }
  return words
}
