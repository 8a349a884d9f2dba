import { deriveKey, idProblem, InternalTypeError } from '@fastify-tenancy/core'
import { LRUCache } from 'lru-cache'
import { createHmac, createSecretKey, type KeyObject } from 'node:crypto'

/** How long a token is good for, in milliseconds. The policy grants 30 s more, for clocks that differ. */
const lifetime = 60_000

/** A key that signs contexts, made from `rls.secret`. */
export interface SigningKey {
  readonly key: Buffer
  /** The same, made for HMAC once: an HMAC whose key comes as bytes costs seven times as much. */
  readonly hmacKey: KeyObject
  /** The key as the database keeps it: HMAC's two blocks, and a name that tells nothing of it. */
  readonly id: string
  readonly inner: Buffer
  readonly outer: Buffer
}

/** Derives a signing key from a secret; the same for ever, and of no use for anything else that the secret may sign. */
export function signingKey (secret: string): SigningKey {
  const key = deriveKey(secret, 'context token')
  const id = createHmac('sha256', key).update('id').digest('hex').slice(0, 16)
  // HMAC (RFC 2104): a key shorter than the hash's block of 64 bytes is filled up with zeros.
  const block = Buffer.concat([key, Buffer.alloc(64 - key.length)])
  return {
    key,
    hmacKey: createSecretKey(key),
    id,
    inner: block.map(byte => byte ^ 0x36) as Buffer,
    outer: block.map(byte => byte ^ 0x5c) as Buffer
  }
}

export interface TokenInput {
  readonly key: SigningKey
  /** The tenant's id. */
  readonly tenant: string
  /** The backend that may use the token; null or 0 for any, where a pooler may send each transaction to another. */
  readonly pid?: number | null
  /** Milliseconds since 1970. @default Date.now() */
  readonly now?: number
}

/**
 * The value of `tenancy.token`: `<tenant>|<expiry in ms>|<pid>|<HMAC-SHA256 in hex>`.
 * `tenancy.verified_tenant()` is its other half. Cannot fail for a valid id.
 */
export function signToken ({ key, tenant, pid, now = Date.now() }: TokenInput): string {
  const problem = idProblem(tenant)
  if (problem !== undefined) throw new InternalTypeError(problem)
  const message = `${tenant}|${Math.trunc(now) + lifetime}|${pid ?? 0}`
  return `${message}|${createHmac('sha256', key.hmacKey).update(message).digest('hex')}`
}

/**
 * Signs the contexts of one pool. A token serves its tenant and its backend for half of its life:
 * a signature costs as much as all else that a statement costs this process.
 */
export class Signer {
  readonly #key: SigningKey
  readonly #tokens = new LRUCache<string, { readonly token: string; readonly until: number }>({ max: 10_000 })

  constructor (key: SigningKey) {
    this.#key = key
  }

  /** A token that is good for half a minute at least. */
  sign (tenant: string, pid: number | null, now: number = Date.now()): string {
    const name = `${pid ?? 0}|${tenant}`
    const known = this.#tokens.get(name)
    // A clock that was set back must not keep a token in use.
    if (known !== undefined && now < known.until && now >= known.until - lifetime / 2) return known.token
    const token = signToken({ key: this.#key, tenant, pid, now })
    this.#tokens.set(name, { token, until: now + lifetime / 2 })
    return token
  }
}
