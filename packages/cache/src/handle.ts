import { channels, InternalTypeError, type TenantScope } from '@fastify-tenancy/core'

import type { CacheContext } from './cache-context.ts'
import { resolveCallOptions, type IncrementOptions, type SetOptions,
  type WrapOptions } from './call-options.ts'
import { CacheValueError } from './errors.ts'
import { toKeyv, type KeyvLike } from './keyv.ts'
import type { Loader } from './loader.ts'
import { PendingChanges } from './pending-changes.ts'
import type { CacheRead } from './store.ts'

/**
 * One tenant's cache, for as long as its request or run lasts. Any string is a key; `undefined` is a miss and is not stored, `null` is a value.
 * Every method rejects with FST_TENANCY_SCOPE_CLOSED afterwards, with FST_TENANCY_OPTION_INVALID for a wrong option,
 * and with a TypeError for a key that is no string.
 * Inside a request that is one transaction, changes (except `increment`, which has an answer) are made after its commit, and never
 * after a rollback; until then what was changed reads as a miss.
 * When Redis cannot be reached reads miss and `set` does nothing, unless the plugin's `onStoreError` is `'throw'`.
 */
export interface TenantCacheHandle {
  get<T = unknown>(key: string): Promise<T | undefined>
  /** @throws FST_TENANCY_CACHE_VALUE_REFUSED when the value is longer than `maxEntryBytes` or cannot be serialized. */
  set(key: string, value: unknown, options?: SetOptions): Promise<void>
  /**
   * Resolves to how many of the keys held a value; to 0 where it waits for a commit. A load of one of them that is under way does not store its own.
   *
   * @throws FST_TENANCY_REDIS_UNAVAILABLE
   */
  delete(...keys: string[]): Promise<number>
  has(key: string): Promise<boolean>
  /** The values in the order of the keys, in one wait. */
  getMany<T = unknown>(keys: readonly string[]): Promise<(T | undefined)[]>
  /**
   * Adds to a whole number, 0 where there is none, and resolves to the sum. Its life counts from its making and is not prolonged.
   *
   * @param by a whole number. @default 1
   * @throws FST_TENANCY_CACHE_VALUE_REFUSED where the key holds something else.
   * @throws FST_TENANCY_REDIS_UNAVAILABLE, and then it is not known whether it was added.
   */
  increment(key: string, by?: number, options?: IncrementOptions): Promise<number>
  /**
   * The value under the key, or what `load` gives, which is then stored: once for all callers of this process that ask at the same time.
   * Each gets a copy of its own, as it comes back from the store: dates as strings, unless a serializer keeps them.
   * What was overtaken by a flush, a delete, a set or an invalidated tag is returned, and not stored.
   */
  wrap<T>(key: string, load: () => T | Promise<T>, options?: WrapOptions): Promise<T>
  /**
   * Removes all values that were stored with this tag: `SET <tag> <new token>`, whatever their number.
   *
   * @throws FST_TENANCY_REDIS_UNAVAILABLE
   */
  invalidateTag(tag: string): Promise<void>
  /**
   * Removes all values of this tenant: `SET <epoch> <new token>`, whatever their number.
   *
   * @throws FST_TENANCY_REDIS_UNAVAILABLE
   */
  flush(): Promise<void>
  /**
   * Returns this cache as a store of Keyv, for libraries that take one: `new Keyv({ store: cache.toKeyv('sessions') })`.
   * It ends with this handle. Its `clear()` removes the values of the namespace, and nothing else.
   *
   * @param namespace whose keys and `clear()` are apart from those of others. @default the one that Keyv sets
   */
  toKeyv(namespace?: string): KeyvLike
}

/** {@link TenantCacheHandle} of one scope. All state is private: a handle leads to no client and to no other tenant. */
export class ScopedCache implements TenantCacheHandle {
  readonly #scope: TenantScope
  readonly #engine: CacheContext
  readonly #loader: Loader
  readonly #pending: PendingChanges

  constructor (scope: TenantScope, context: CacheContext, loader: Loader) {
    this.#scope = scope
    this.#engine = context
    this.#loader = loader
    this.#pending = new PendingChanges(scope)
  }

  async get<T = unknown> (key: string): Promise<T | undefined> {
    const tenant = this.#open(key)
    if (this.#pending.has(key)) return undefined
    const near = this.#value(this.#engine.store.peek(tenant, key))
    if (near !== undefined) return this.#counted(near) as T
    try {
      return this.#counted(this.#value(await this.#engine.store.read(tenant, key))) as T | undefined
    } catch (error) {
      return this.#engine.orMiss(error)
    }
  }

  async set (key: string, value: unknown, options?: SetOptions): Promise<void> {
    const tenant = this.#open(key)
    const call = resolveCallOptions('set', options)
    const payload = this.#engine.codec.encode(value)
    if (payload === undefined) return
    const problem = this.#engine.codec.problem(payload)
    if (problem !== undefined) throw new CacheValueError(problem)
    await this.#pending.make(
      [key],
      () =>
        this.#engine.withOutageLog(this.#engine.store.write(tenant, key, this.#engine.entry(payload, call))),
      undefined
    )
  }

  async delete (...keys: string[]): Promise<number> {
    const tenant = this.#open(...keys)
    return this.#pending.make(keys, () => this.#engine.store.remove(tenant, keys), 0)
  }

  async has (key: string): Promise<boolean> {
    return await this.get(key) !== undefined
  }

  async getMany<T = unknown> (keys: readonly string[]): Promise<(T | undefined)[]> {
    const tenant = this.#open(...keys)
    if (keys.length === 0) return []
    const reads = await this.#engine.withOutageLog(this.#engine.store.readMany(tenant, keys))
    return keys.map((key, at) =>
      this.#pending.has(key) ? undefined : this.#counted(this.#value(reads?.[at])) as T | undefined
    )
  }

  async increment (key: string, by = 1, options?: IncrementOptions): Promise<number> {
    const tenant = this.#open(key)
    const call = resolveCallOptions('increment', options)
    if (!Number.isSafeInteger(by))
      throw new CacheValueError('a cached number can be incremented by a whole number only')
    return this.#engine.store.increment(tenant, key, by, this.#engine.ttl(call))
  }

  async wrap<T> (key: string, load: () => T | Promise<T>, options?: WrapOptions): Promise<T> {
    const tenant = this.#open(key)
    const isChanged = this.#pending.has(key)
    const near = isChanged ? undefined : this.#value(this.#engine.store.peek(tenant, key))
    if (near !== undefined) return this.#counted(near) as T
    let isLoaded = false
    const value = await this.#loader.wrap(
      this.#scope,
      key,
      () => {
        isLoaded = true
        return load()
      },
      options,
      isChanged
    )
    this.#count(!isLoaded)
    return value as T
  }

  async invalidateTag (tag: string): Promise<void> {
    const tenant = this.#open(tag)
    await this.#pending.make('all', () => this.#engine.store.invalidateTag(tenant, tag), undefined)
  }

  async flush (): Promise<void> {
    const tenant = this.#open()
    await this.#pending.make('all', () => this.#engine.store.flush(tenant), undefined)
  }

  toKeyv (namespace?: string): KeyvLike {
    return toKeyv(this, namespace)
  }

  #counted (value: unknown): unknown {
    this.#count(value !== undefined)
    return value
  }

  #count (isHit: boolean): void {
    if (channels.cache.hasSubscribers) channels.cache.publish({ tenant: this.#scope.tenant, isHit })
  }

  #value (read: CacheRead | undefined): unknown {
    return read === undefined || read.staleAt <= this.#engine.now()
      ? undefined
      : this.#engine.codec.decodeRead(read)
  }

  /** The tenant of a handle that is still open, after a check of the keys. */
  #open (...keys: string[]): string {
    this.#scope.assertOpen()
    for (const key of keys) {
      if (typeof key !== 'string')
        throw new InternalTypeError(`a cache key must be a string, got ${typeof key}`)
    }
    return this.#scope.tenant.id
  }
}
