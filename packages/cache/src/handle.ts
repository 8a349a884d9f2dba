import { channels, type TenantScope } from '@fastify-tenancy/core'
import { InternalTypeError } from '@fastify-tenancy/core/errors'

import type { CacheContext } from './cache-context.ts'
import { resolveCallOptions, type IncrementOptions, type SetOptions,
  type WrapOptions } from './call-options.ts'
import { CacheValueError } from './errors.ts'
import { toKeyv, type KeyvLike } from './keyv.ts'
import type { Loader } from './loader.ts'
import { PendingChanges } from './pending-changes.ts'
import type { CacheRead } from './store.ts'

/**
 * One tenant's cache, until its request or run ends. Any string is a key. `undefined` is a miss and
 * is not stored; `null` is a value.
 *
 * Every method rejects with FST_TENANCY_SCOPE_CLOSED after the end, with FST_TENANCY_OPTION_INVALID
 * for a wrong option, and with a TypeError if a key is not a string.
 *
 * In a request that runs as one transaction, changes are made after the commit, and never after a
 * rollback. Until then a changed key reads as a miss. `increment` is the exception, because it
 * returns the sum.
 *
 * When Redis cannot be reached, reads miss and `set` does nothing, unless the plugin's
 * `onStoreError` is `'throw'`.
 */
export interface TenantCacheHandle {
  get<T = unknown>(key: string): Promise<T | undefined>
  /**
   * Stores a value.
   *
   * @throws FST_TENANCY_CACHE_VALUE_REFUSED when the value is longer than `maxEntryBytes` or cannot
   * be serialized.
   */
  set(key: string, value: unknown, options?: SetOptions): Promise<void>
  /**
   * Resolves to the number of keys that held a value, or to 0 if the change waits for a commit. A
   * running load of such a key does not store its value.
   *
   * @throws FST_TENANCY_REDIS_UNAVAILABLE
   */
  delete(...keys: string[]): Promise<number>
  has(key: string): Promise<boolean>
  /** Returns the values in the order of the keys, in one round trip. */
  getMany<T = unknown>(keys: readonly string[]): Promise<(T | undefined)[]>
  /**
   * Adds to a whole number (0 if the key is missing) and resolves to the sum. The lifetime counts
   * from the number's creation and is not prolonged.
   *
   * @param by a whole number. @default 1
   * @throws FST_TENANCY_CACHE_VALUE_REFUSED if the key holds another value.
   * @throws FST_TENANCY_REDIS_UNAVAILABLE. It is then unknown whether the number was added.
   */
  increment(key: string, by?: number, options?: IncrementOptions): Promise<number>
  /**
   * Returns the value of the key, or the result of `load`, which is then stored. Concurrent callers
   * in this process share one load.
   *
   * Each caller gets its own copy, as it is read back from the store: dates are strings, unless a
   * serializer preserves them. A loaded value is returned but not stored if a flush, delete, set or
   * invalidated tag happened during the load.
   */
  wrap<T>(key: string, load: () => T | Promise<T>, options?: WrapOptions): Promise<T>
  /**
   * Removes all values stored with this tag: `SET <tag> <new token>`, at constant cost.
   *
   * @throws FST_TENANCY_REDIS_UNAVAILABLE
   */
  invalidateTag(tag: string): Promise<void>
  /**
   * Removes all values of this tenant: `SET <generation> <new token>`, at constant cost.
   *
   * @throws FST_TENANCY_REDIS_UNAVAILABLE
   */
  flush(): Promise<void>
  /**
   * Returns this cache as a Keyv store, for libraries that accept one: `new Keyv({ store:
   * cache.toKeyv('sessions') })`. It ends with this handle. Its `clear()` removes only the values
   * of the namespace.
   *
   * @param namespace isolates keys and `clear()` from those of other namespaces. @default the
   * namespace that Keyv sets
   */
  toKeyv(namespace?: string): KeyvLike
}

/**
 * The {@link TenantCacheHandle} of one scope. All state is private, so a handle gives no access to
 * the client or to another tenant.
 */
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

  /** Checks that the handle is open and the keys are strings. Returns the tenant's id. */
  #open (...keys: string[]): string {
    this.#scope.assertOpen()
    for (const key of keys) {
      if (typeof key !== 'string')
        throw new InternalTypeError(`a cache key must be a string, got ${typeof key}`)
    }
    return this.#scope.tenant.id
  }
}
