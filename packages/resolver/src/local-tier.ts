import type { TenantChange, TenantRecord } from '@fastify-tenancy/core'
import { LRUCache } from 'lru-cache'

import { localKey, localKeys, type LookupKey } from './lookup-key.ts'
import type { ResolvedResolverCache } from './options.ts'

/** A tenant that this process remembers. Times are milliseconds of the tier's clock. */
interface Entry {
  readonly lookup: LookupKey
  readonly tenant: TenantRecord
  /**
   * From this time on the next request renews the entry in the background, so that requests of busy
   * tenants never wait.
   */
  readonly renewAt: number
  readonly freshUntil: number
  /** Until this time the entry is served while the registry is down. */
  readonly usableUntil: number
  /** An entry of an older age is not fresh, because messages may have been lost since. */
  readonly age: number
}

/**
 * The result of a local look-up: a tenant, `null` if no tenant has the name, or `undefined` if
 * another tier must be asked.
 */
export type Known = TenantRecord | null | undefined

/**
 * The look-up memory of one process. Unknown names have a separate store, so that a flood of
 * made-up names evicts only other made-up names.
 */
export class LocalLookupTier {
  readonly #entries: LRUCache<string, Entry>
  readonly #unknown: LRUCache<string, number>
  /**
   * The keys under which a tenant is remembered. A change carries the id and must reach all of
   * them.
   */
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

  /**
   * Returns the cached result for a key. Calls `renew` when it is time to ask the registry again.
   */
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

  /** Returns an entry that may be served although it is expired, because the registry is down. */
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

  /** Forgets a tenant under all its names, and also that one of the names was unknown. */
  forget (change: TenantChange): void {
    for (const key of [...localKeys(change), ...this.#keysOf.get(change.id) ?? []]) {
      this.#entries.delete(key)
      this.#unknown.delete(key)
    }
  }

  /**
   * Marks every entry as expired, because messages may have been lost. The entries stay usable in
   * an outage.
   */
  invalidateAll (): void {
    this.#age++
    this.#unknown.clear()
  }

  /** Returns the tenant remembered under this key, of any age. */
  peek (key: string): TenantRecord | undefined {
    return this.#entries.peek(key)?.tenant
  }

  /** Returns the tenant of this id, of any age, under any of its keys. */
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
