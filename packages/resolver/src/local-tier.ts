import type { TenantChange, TenantRecord } from '@fastify-tenancy/core'
import { LRUCache } from 'lru-cache'

import { localKey, localKeys, type LookupKey } from './lookup-key.ts'
import type { ResolvedResolverCache } from './options.ts'

/** A tenant that the process remembers. Times are those of the tier's clock, in milliseconds. */
interface Entry {
  readonly lookup: LookupKey
  readonly tenant: TenantRecord
  /** From here on the next request renews it in the background: busy tenants never wait. */
  readonly renewAt: number
  readonly freshUntil: number
  /** Until here it is served while the registry is down. */
  readonly usableUntil: number
  /** Entries of an older age are not fresh: messages may have been lost since. */
  readonly age: number
}

/** What the process knows: a tenant, `null` for nobody, `undefined` when it has to ask. */
export type Known = TenantRecord | null | undefined

/**
 * The memory of one process. Unknown names have one of their own, so that a flood of made-up names
 * pushes out other made-up names and no tenant.
 */
export class LocalLookupTier {
  readonly #entries: LRUCache<string, Entry>
  readonly #unknown: LRUCache<string, number>
  /** Under which keys a tenant is remembered: a change is told by id, and must reach all of them. */
  readonly #keysOf = new Map<string, Set<string>>()
  readonly #options: ResolvedResolverCache
  readonly #now: () => number
  #age = 0

  constructor (options: ResolvedResolverCache, now: () => number) {
    this.#options = options
    this.#now = now
    this.#unknown = new LRUCache({ max: options.max })
    this.#entries = new LRUCache({
      max: options.max,
      dispose: (entry, key) => {
        this.#unlist(entry.tenant.id, key)
      }
    })
  }

  get size (): { readonly tenants: number; readonly unknown: number } {
    return { tenants: this.#entries.size, unknown: this.#unknown.size }
  }

  /** The answer for a key. `renew` is called when it is time to ask again. */
  get (key: string, renew: (lookup: LookupKey) => void): Known {
    const now = this.#now()
    const entry = this.#entries.get(key)
    if (entry !== undefined) {
      if (entry.age !== this.#age || now >= entry.freshUntil) return undefined
      if (now >= entry.renewAt) renew(entry.lookup)
      return entry.tenant
    }
    const until = this.#unknown.get(key)
    return until !== undefined && now < until ? null : undefined
  }

  /** What may be served although it is old, because nothing newer can be had. */
  getStale (key: string): TenantRecord | undefined {
    const entry = this.#entries.get(key)
    return entry !== undefined && this.#now() < entry.usableUntil ? entry.tenant : undefined
  }

  set (lookup: LookupKey, tenant: TenantRecord): void {
    const key = localKey(lookup)
    const now = this.#now()
    const { localTtl, staleIfError, jitter } = this.#options
    const life = localTtl * (1 - jitter * Math.random())
    this.#unknown.delete(key)
    this.#entries.set(key, {
      lookup,
      tenant,
      renewAt: now + life * 0.8,
      freshUntil: now + life,
      usableUntil: now + staleIfError,
      age: this.#age
    })
    const keys = this.#keysOf.get(tenant.id)
    if (keys === undefined) this.#keysOf.set(tenant.id, new Set([key]))
    else keys.add(key)
  }

  setUnknown (key: string): void {
    this.#entries.delete(key)
    this.#unknown.set(key, this.#now() + this.#options.negativeTtl)
  }

  /** Forgets a tenant under all its names, and that a name of it was unknown. */
  forget (change: TenantChange): void {
    for (const key of [...localKeys(change), ...this.#keysOf.get(change.id) ?? []]) {
      this.#entries.delete(key)
      this.#unknown.delete(key)
    }
  }

  /** Has everything asked for again, since messages may have been lost; what is known stays for an outage. */
  invalidateAll (): void {
    this.#age++
    this.#unknown.clear()
  }

  /** The tenant remembered under this key, however old. */
  peek (key: string): TenantRecord | undefined {
    return this.#entries.peek(key)?.tenant
  }

  /** The tenant of this id, however old, under whichever key it is remembered. */
  tenantOf (id: string): TenantRecord | undefined {
    for (const key of this.#keysOf.get(id) ?? []) return this.peek(key)
    return undefined
  }

  #unlist (id: string, key: string): void {
    const keys = this.#keysOf.get(id)
    keys?.delete(key)
    if (keys?.size === 0) this.#keysOf.delete(id)
  }
}
