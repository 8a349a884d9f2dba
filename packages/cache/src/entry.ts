import { randomBytes } from 'node:crypto'

import { signatureLength, type Seal } from '@fastify-tenancy/core'

import type { CacheWrite } from './store.ts'

/*
 * How a value is written in Redis:
 *
 *   epoch (16) · id of this writing (8) · token of each tag (16 each) · seal · header · '\n' · payload
 *
 * The header is empty, 'n' for a counter, or the JSON list [staleAt, ...tags]. Epoch and id lead, so that a script
 * can tell an entry by its first characters. A removed entry is '!' and 23 more: no epoch begins so.
 *
 * The seal is there where the plugin has a secret: '~' · signature (43) · end in milliseconds of the Unix clock. It covers the
 * key, the end, the header and the payload. What the server's own scripts write is trusted: epoch, tokens and counters.
 */

export const tokenLength = 16
export const entryVersionLength = 24

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

/** The seal and the header of a value. Unsealed where there is no secret. */
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
 * Reads an entry; undefined when it is of another epoch, removed, or not ours.
 *
 * @param seal undefined where values are not signed. @param key under which the entry was found.
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

// Neither tokens nor the seal have a '[', and no token a '~'.
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
