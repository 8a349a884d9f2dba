import { cacheChannel } from '@fastify-tenancy/core/keys'
import type { TenancyRedis } from '@fastify-tenancy/redis'

import { token } from './entry.ts'
import { growth, ParsedJson } from './parsed-json.ts'
import { Partitions, type CachedItem } from './partitions.ts'
import type { CacheLock, CacheRead, CacheStore, CacheWrite, CasToken } from './store.ts'

interface Copy extends CachedItem {
  readonly read: CacheRead
}

interface TenantState {
  /** How many times copies were dropped. A reply that was in flight during a drop is not kept. */
  drops: number
}

/** Messages do not name longer keys. They drop all copies of the tenant instead. */
const longestKey = 512

/**
 * Keeps copies of values read from Redis for `ttl`. A change drops them at once in this process,
 * and by a message in other processes. All copies are dropped when messages may have been lost. So
 * a copy is at most `ttl` older than Redis.
 */
export class LocalCacheTier implements CacheStore {
  readonly #store: CacheStore
  readonly #redis: TenancyRedis
  readonly #ttl: number
  readonly #now: () => number
  readonly #sender = token()
  readonly #copies: Partitions<Copy, TenantState>

  constructor (
    store: CacheStore,
    redis: TenancyRedis,
    options: { readonly ttl: number; readonly maxBytes: number },
    now: () => number = Date.now
  ) {
    this.#store = store
    this.#redis = redis
    this.#ttl = options.ttl
    this.#now = now
    this.#copies = new Partitions(options.maxBytes, () => ({ drops: 0 }), now)
  }

  /** Subscribes to changes of other processes. Resolves to the function that unsubscribes. */
  listen (): Promise<() => Promise<void>> {
    return this.#redis.subscribe(cacheChannel, message => {
      this.#hear(message)
    }, () => {
      this.#copies.clear()
    })
  }

  /**
   * Returns a copy, except a stale one that `wrap` would refresh, because another process may
   * already have refreshed it.
   */
  peek (tenant: string, key: string): CacheRead | undefined {
    const read = this.#copies.get(tenant, key)?.read
    return read !== undefined && read.staleAt > this.#now() ? read : undefined
  }

  async read (tenant: string, key: string): Promise<CacheRead> {
    const copy = this.peek(tenant, key)
    if (copy !== undefined) return copy
    const mayKeep = this.#watch(tenant)
    const read = await this.#store.read(tenant, key)
    if (read.payload !== undefined && mayKeep()) this.#keep(tenant, key, read)
    return read
  }

  async readMany (tenant: string, keys: readonly string[]): Promise<CacheRead[]> {
    const found = new Map<string, CacheRead>()
    for (const key of keys) {
      const copy = this.peek(tenant, key)
      if (copy !== undefined) found.set(key, copy)
    }
    const missing = keys.filter(key => !found.has(key))
    if (missing.length > 0) {
      const mayKeep = this.#watch(tenant)
      const reads = await this.#store.readMany(tenant, missing)
      const isCurrent = mayKeep()
      for (const [at, read] of reads.entries()) {
        const key = missing[at] ?? ''
        found.set(key, read)
        if (isCurrent && read.payload !== undefined) this.#keep(tenant, key, read)
      }
    }
    return keys.map(key => found.get(key) as CacheRead)
  }

  begin (tenant: string, key: string, tags: readonly string[]): Promise<CasToken> {
    return this.#store.begin(tenant, key, tags)
  }

  /** A loaded value replaces no copy in any process, so only `set` sends a message. */
  write (tenant: string, key: string, value: CacheWrite, casToken?: CasToken): Promise<boolean> {
    const write = (): Promise<boolean> => this.#store.write(tenant, key, value, casToken)
    return casToken === undefined ? this.#changing(tenant, [key], write) : write()
  }

  remove (tenant: string, keys: readonly string[]): Promise<number> {
    return this.#changing(tenant, keys, () => this.#store.remove(tenant, keys))
  }

  increment (tenant: string, key: string, by: number, ttl: number): Promise<number> {
    return this.#changing(tenant, [key], () => this.#store.increment(tenant, key, by, ttl))
  }

  invalidateTag (tenant: string, tag: string): Promise<void> {
    return this.#changing(tenant, null, () => this.#store.invalidateTag(tenant, tag))
  }

  flush (tenant: string): Promise<void> {
    return this.#changing(tenant, null, () => this.#store.flush(tenant))
  }

  lock (tenant: string, key: string, ttl: number): Promise<CacheLock | undefined> {
    return this.#store.lock(tenant, key, ttl)
  }

  /**
   * Changes Redis first and then drops the copies, because a copy made before the change would be
   * outdated.
   */
  async #changing<T> (tenant: string, keys: readonly string[] | null, change: () => Promise<T>): Promise<T> {
    const named = keys?.every(key => key.length <= longestKey) ? keys : null
    try {
      return await change()
    } finally {
      // Drop the copies also after an error, because Redis may have made the change.
      this.#drop(tenant, named)
      this.#redis.publish(cacheChannel, JSON.stringify([this.#sender, tenant, named])).catch(() => {})
    }
  }

  /**
   * Returns a function that tells whether no copy of the tenant was dropped since this call. A
   * reply in flight during a drop may be outdated.
   */
  #watch (tenant: string): () => boolean {
    const state = this.#copies.state(tenant)
    const { drops } = state
    return () => this.#copies.stateIfAny(tenant) === state && state.drops === drops
  }

  // Keeps a copy without its token, because a load must ask Redis for its initial state.
  #keep (tenant: string, key: string, read: CacheRead): void {
    const text = read.payload ?? ''
    const kept = read.isCounter ? undefined : new ParsedJson(text)
    this.#copies.set(tenant, key, {
      read: { ...read, casToken: undefined, kept },
      expiresAt: this.#now() + this.#ttl,
      size: Buffer.byteLength(text) * (1 + growth)
    })
  }

  #drop (tenant: string, keys: readonly string[] | null): void {
    const state = this.#copies.stateIfAny(tenant)
    if (state === undefined) return
    state.drops++
    if (keys === null) this.#copies.drop(tenant)
    else for (const key of keys) this.#copies.delete(tenant, key)
  }

  #hear (message: string): void {
    try {
      const [sender, tenant, keys] = JSON.parse(message) as [string, string, string[] | null]
      if (sender !== this.#sender) this.#drop(tenant, keys)
    } catch {
      this.#copies.clear() // an unknown message may announce any change
    }
  }
}
