import { randomBytes } from 'node:crypto'

import { signatureLength, type Seal } from '@fastify-tenancy/core/keys'

import type { CacheWrite } from './store.ts'

/**
 * The format of a value in Redis:
 *
 *   generation token (16) · id of this write (8) · token of each tag (16 each) · seal · header ·
 * '\n' · payload
 *
 * The header is empty, 'n' for a counter, or the JSON list [staleAt, ...tags]. Generation token and
 * id come first, so that a script recognizes an entry by its first characters. A removed entry is
 * '!' and 23 more characters; no generation token begins with '!'.
 *
 * The seal exists if the plugin has a secret: '~' · signature (43) · expiry in milliseconds of the
 * Unix clock. It covers the key, the expiry, the header and the payload. Data that the scripts
 * write is trusted: tokens and counters.
 */

const tokenLength = 16
export const entryVersionLength = 24

/** Returns a random token of 96 bits, for a generation or a tag. */
export function token (): string {
  return randomBytes(12).toString('base64url')
}

/** Returns the id of one write: 48 bits, enough to distinguish the writes of one key. */
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

/** Returns the header of a value. */
function entryHeader (staleAt: number, tags: readonly string[]): string {
  if (staleAt === Infinity && tags.length === 0) return ''
  return JSON.stringify([staleAt === Infinity ? 0 : staleAt, ...tags])
}

/** Returns the seal and the header of a value. Without a secret there is no seal. */
export function sealedHeader (
  seal: Seal | undefined,
  key: string,
  { payload, staleAt, tags, ttl }: CacheWrite
): string {
  const header = entryHeader(staleAt, tags)
  if (seal === undefined) return header
  const expiresAt = Date.now() + ttl
  return `~${seal.sign({ key, expiresAt, note: header, value: payload })}${expiresAt}${header}`
}

/**
 * Parses an entry. Returns undefined if it belongs to another generation, is removed, or has
 * another format.
 *
 * @param seal undefined if values are not signed.
 * @param key the key of the entry.
 */
export function parseEntry (
  raw: string,
  generation: string,
  seal: Seal | undefined,
  key: string
): Entry | undefined {
  if (!raw.startsWith(generation)) return undefined
  const end = raw.indexOf('\n', entryVersionLength)
  if (end === -1) return undefined
  const payload = raw.slice(end + 1)
  if (end === entryVersionLength) return seal === undefined ? plain(payload, false) : undefined
  const head = raw.slice(entryVersionLength, end)
  if (head === 'n') return /^-?\d{1,16}$/.test(payload) ? plain(payload, true) : undefined
  const { tokens, sealed, header } = splitHead(head)
  if (seal !== undefined && !isGenuine(seal, sealed, key, header, payload)) return undefined
  return header === '' ? plain(payload, false) : tagged(payload, tokens, header)
}

function plain (payload: string, isCounter: boolean): Entry {
  return { payload, staleAt: Infinity, isCounter, tags: noTags, tagTokens: noTags }
}

// Tokens and seals never contain '[', and tokens never contain '~'.
function splitHead (head: string): { tokens: string; sealed: string; header: string } {
  const bracket = head.indexOf('[')
  const front = bracket === -1 ? head : head.slice(0, bracket)
  const entryVersion = front.indexOf('~')
  return {
    tokens: entryVersion === -1 ? front : front.slice(0, entryVersion),
    sealed: entryVersion === -1 ? '' : front.slice(entryVersion + 1),
    header: bracket === -1 ? '' : head.slice(bracket)
  }
}

function isGenuine (seal: Seal, sealed: string, key: string, header: string, payload: string): boolean {
  const expiry = sealed.slice(signatureLength)
  if (!/^\d{1,16}$/.test(expiry)) return false
  return seal.isGenuine(sealed.slice(0, signatureLength), {
    key,
    expiresAt: Number(expiry),
    note: header,
    value: payload
  })
}

function tagged (payload: string, tokens: string, header: string): Entry | undefined {
  try {
    const [staleAt, ...tags] = JSON.parse(header) as [number, ...string[]]
    const tagTokens = tags.map((_, at) => tokens.slice(at * tokenLength, (at + 1) * tokenLength))
    return { payload, staleAt: staleAt === 0 ? Infinity : staleAt, isCounter: false, tags, tagTokens }
  } catch {
    return undefined
  }
}
