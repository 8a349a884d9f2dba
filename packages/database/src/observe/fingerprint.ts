import { createHash } from 'node:crypto'

/** A statement without its literals, so that it can be counted and shown. */
export interface Fingerprint {
  /** The first 16 hexadecimal digits of the text's SHA-256. */
  readonly id: string
  /** `select * from tasks where id = ? and title in (?)` */
  readonly text: string
}

/*
 * The parts of a text that do not belong to its shape: comments, literals (an unfinished one to the
 * end), parameters and numbers. Identifiers that are quoted or contain digits match first, so they
 * stay.
 */
const pieces = new RegExp(
  [
    /(?<name>"(?:[^"]|"")*"|[\p{L}_][\p{L}\p{N}_$]*(?=[^'\p{L}\p{N}_$]|$))/u,
    /(?<comment>--[^\n\r]*|\/\*[\s\S]*?(?:\*\/|$))/u,
    /[eE]'(?:[^'\\]|\\[\s\S]|'')*(?:'|$)/u,
    /[bBxXnN]?'(?:[^']|'')*(?:'|$)/u,
    /\$(?<tag>[\p{L}_]*)\$[\s\S]*?(?:\$\k<tag>\$|$)/u,
    /[$:]\d+|\d[\d._eE]*/u
  ].map(({ source }) => source).join('|'),
  'gu'
)

/** Longest part of a text that is read. Longer texts are mostly lists of values. */
const longest = 20_000

/**
 * Returns the fingerprint of a statement. It is equal for texts that differ only in values, white
 * space, comments and lengths of lists.
 */
export function fingerprint (sql: string): Fingerprint {
  const text = sql.slice(0, longest)
    .replace(pieces, (match, ...args) => {
      const groups = args.at(-1) as { name?: string; comment?: string }
      if (groups.name !== undefined) return match
      return groups.comment === undefined ? '?' : ' '
    })
    .replaceAll(/\s+/g, ' ')
    .replaceAll(/\( ?\?(?: ?, ?\?)* ?\)/g, '(?)')
    .replaceAll(/\(\?\)(?: ?, ?\(\?\))+/g, '(?)')
    .trim()
  return { id: createHash('sha256').update(text).digest('hex').slice(0, 16), text }
}
