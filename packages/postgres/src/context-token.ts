import { idProblem } from '@fastify-tenancy/core'
import { InternalTypeError } from '@fastify-tenancy/core/errors'
import { deriveKey } from '@fastify-tenancy/core/keys'
import { LRUCache } from 'lru-cache'
import { createHmac, createSecretKey, type KeyObject } from 'node:crypto'

/** Lifetime of a token in milliseconds. The policy grants 30 s more, because clocks differ. */
const lifetime = 60_000

/** A key that signs contexts, derived from `rls.secret`. */
export interface SigningKey {
  readonly key: Buffer
  /** The same key as an object, because an HMAC with a key in bytes costs seven times as much. */
  readonly hmacKey: KeyObject
  /**
   * The key as the database stores it: HMAC's two padded keys, and an id that reveals nothing of
   * it.
   */
  readonly id: string
  readonly inner: Buffer
  readonly outer: Buffer
}

/**
 * Derives a signing key from a secret. Deterministic. The key is of no use for anything else that
 * the secret may sign.
 */
export function signingKey (secret: string): SigningKey {
  const key = deriveKey(secret, 'context token')
  const id = createHmac('sha256', key).update('id').digest('hex').slice(0, 16)
  // HMAC (RFC 2104) pads a key that is shorter than the hash's 64-byte block with zeros.
  const block = Buffer.concat([key, Buffer.alloc(64 - key.length)])
  return {
    key,
    hmacKey: createSecretKey(key),
    id,
    inner: block.map(byte => byte ^ 0x36) as Buffer,
    outer: block.map(byte => byte ^ 0x5c) as Buffer
  }
}

interface TokenInput {
  readonly key: SigningKey
  /** The tenant's id. */
  readonly tenant: string
  /**
   * The backend that may use the token. Null or 0 for any backend, as behind a transaction pooler.
   */
  readonly pid?: number | null
  /** Milliseconds since 1970. @default Date.now() */
  readonly now?: number
}

/**
 * Returns a value for `tenancy.token`: `<tenant>|<expiry in ms>|<pid>|<HMAC-SHA256 in hex>`.
 * `tenancy.verified_tenant()` verifies it. Never fails for a valid id.
 */
export function signToken ({ key, tenant, pid, now = Date.now() }: TokenInput): string {
  const problem = idProblem(tenant)
  if (problem !== undefined) throw new InternalTypeError(problem)
  const message = `${tenant}|${Math.trunc(now) + lifetime}|${pid ?? 0}`
  return `${message}|${createHmac('sha256', key.hmacKey).update(message).digest('hex')}`
}

/**
 * Signs the contexts of one pool. Reuses a token for its tenant and backend for half of its
 * lifetime. A signature costs this process as much as the rest of a statement.
 */
export class Signer {
  readonly #key: SigningKey
  readonly #tokens = new LRUCache<string, { readonly token: string; readonly until: number }>({ max: 10_000 })

  constructor (key: SigningKey) {
    this.#key = key
  }

  /** Returns a token that is valid for at least half a minute. */
  sign (tenant: string, pid: number | null, now: number = Date.now()): string {
    const name = `${pid ?? 0}|${tenant}`
    const known = this.#tokens.get(name)
    // The second condition is false after the clock was set back. The token would stay in use too
    // long.
    if (known !== undefined && now < known.until && now >= known.until - lifetime / 2) return known.token
    const token = signToken({ key: this.#key, tenant, pid, now })
    this.#tokens.set(name, { token, until: now + lifetime / 2 })
    return token
  }
}
