import { randomBytes } from 'node:crypto'

/*
 * How a value is written in Redis:
 *
 *   epoch (16) · id of this writing (8) · token of each tag (16 each) · header · '\n' · payload
 *
 * The header is empty, 'n' for a counter, or the JSON list [staleAt, ...tags]. Epoch and id lead, so that a script
 * can tell an entry by its first characters. A removed entry is '!' and 23 more: no epoch begins so.
 */

export const tokenLength = 16
export const markLength = 24

/** A random token of 96 bits: an epoch. */
export function token (): string {
  return randomBytes(12).toString('base64url')
}

/** The id of one writing: 48 bits, enough to tell the writings of one key apart. */
export function entryId (): string {
  return randomBytes(6).toString('base64url')
}

export interface Entry {
  readonly payload: string
  readonly staleAt: number
  readonly isCounter: boolean
  readonly tags: readonly string[]
  readonly tagTokens: readonly string[]
}

export const noTags: readonly string[] = []

/** The header of a value, as its writer knows it. */
export function entryHeader (staleAt: number, tags: readonly string[]): string {
  if (staleAt === Infinity && tags.length === 0) return ''
  return JSON.stringify([staleAt === Infinity ? 0 : staleAt, ...tags])
}

/** Reads an entry; undefined when it is of another epoch, removed, or not ours. */
export function parseEntry (raw: string, epoch: string): Entry | undefined {
  if (!raw.startsWith(epoch)) return undefined
  const end = raw.indexOf('\n', markLength)
  if (end === -1) return undefined
  const payload = raw.slice(end + 1)
  if (end === markLength) return { payload, staleAt: Infinity, isCounter: false, tags: noTags, tagTokens: noTags }
  const header = raw.slice(markLength, end)
  if (header === 'n') return { payload, staleAt: Infinity, isCounter: true, tags: noTags, tagTokens: noTags }
  return tagged(payload, header)
}

function tagged (payload: string, header: string): Entry | undefined {
  const start = header.indexOf('[')
  try {
    const [staleAt, ...tags] = JSON.parse(header.slice(start)) as [number, ...string[]]
    const tagTokens = tags.map((_, at) => header.slice(at * tokenLength, (at + 1) * tokenLength))
    return { payload, staleAt: staleAt === 0 ? Infinity : staleAt, isCounter: false, tags, tagTokens }
  } catch {
    return undefined
  }
}
