import { createHash } from 'node:crypto'

/**
 * A statement without its values, so that it can be counted and shown: no literal of it is kept.
 */
export interface Fingerprint {
  /** The first 16 hexadecimal digits of the text's SHA-256. */
  readonly id: string
  /** `select * from tasks where id = ? and title in (?)` */
  readonly text: string
}

/*
 * What may go into a text and says nothing of its shape: comments, literals of every quotation (an
 * unfinished one to the end), parameters and numbers. Identifiers come first where they are quoted
 * or hold digits, so that they stay.
 */
const pieces =
  /(?<name>"(?:[^"]|"")*"|[\p{L}_][\p{L}\p{N}_$]*(?=[^'\p{L}\p{N}_$]|$))|(?<comment>--[^\n]*|\/\*[\s\S]*?(?:\*\/|$))|(?<value>[eE]'(?:[^'\\]|\\[\s\S]|'')*(?:'|$)|[bBxXnN]?'(?:[^']|'')*(?:'|$)|\$(?<tag>[\p{L}_]*)\$[\s\S]*?(?:\$\k<tag>\$|$)|[$:]\d+|\d[\d._eE]*)/gu

/** Of a longer text the beginning says enough: long ones are lists of values. */
const longest = 20_000

/**
 * The fingerprint of a statement: the same for texts that differ in values, white space, comments
 * and lengths of lists.
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
