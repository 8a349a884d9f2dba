import { nonEmptyString, checkOptions } from '@fastify-tenancy/core/options'
import * as v from 'valibot'

/** The methods of a Keyv store, for Keyv 5 and 6. */
export interface KeyvLike {
  /** The namespace given to `toKeyv()`, else the one that Keyv sets. */
  namespace: string | undefined
  /** Keyv's adapters keep their options here; this adapter has none. */
  readonly opts: Record<string, unknown>
  get<T = unknown>(key: string): Promise<T | undefined>
  getMany<T = unknown>(keys: string[]): Promise<(T | undefined)[]>
  /** @param ttl milliseconds; the plugin's `ttl` if it is missing or 0. */
  set(key: string, value: unknown, ttl?: number): Promise<boolean>
  setMany(entries: readonly KeyvEntry[]): Promise<boolean[]>
  delete(key: string): Promise<boolean>
  /** Resolves to whether any of the keys held a value. */
  deleteMany(keys: string[]): Promise<boolean>
  has(key: string): Promise<boolean>
  hasMany(keys: string[]): Promise<boolean[]>
  /** Removes all values of the namespace, or all values of the tenant without a namespace. */
  clear(): Promise<void>
}

/** The methods of a tenant's cache that the store uses; see `TenantCacheHandle`. */
interface KeyvSource {
  get<T>(key: string): Promise<T | undefined>
  getMany<T>(keys: readonly string[]): Promise<(T | undefined)[]>
  set(key: string, value: unknown, options?: { ttl?: string; tags?: readonly string[] }): Promise<void>
  has(key: string): Promise<boolean>
  delete(...keys: string[]): Promise<number>
  flush(): Promise<void>
  invalidateTag(tag: string): Promise<void>
}

/** One value of `setMany`. */
export interface KeyvEntry {
  readonly key: string
  readonly value: unknown
  /** Milliseconds. */
  readonly ttl?: number | undefined
}

/**
 * Returns a tenant's cache with the methods and units of a Keyv store.
 *
 * @throws FST_TENANCY_OPTION_INVALID for an empty namespace.
 */
export function toKeyv (cache: KeyvSource, namespace: string | undefined): KeyvLike {
  return new KeyvStore(
    cache,
    checkOptions(v.optional(nonEmptyString), namespace, 'the namespace of cache.toKeyv()')
  )
}

/**
 * Tags every value with its namespace, so that `clear()` is one command for any number of values.
 * The methods that Keyv calls are bound, because libraries pass them on unbound.
 */
class KeyvStore implements KeyvLike {
  readonly #opts: Record<string, unknown> = {}
  readonly #cache: KeyvSource
  readonly #given: string | undefined
  #ofKeyv: string | undefined

  constructor (cache: KeyvSource, input: string | undefined) {
    this.#cache = cache
    this.#given = input
  }

  get namespace (): string | undefined {
    return this.#given ?? this.#ofKeyv
  }

  set namespace (namespace: string | undefined) {
    this.#ofKeyv = namespace
  }

  get opts (): Record<string, unknown> {
    return this.#opts
  }

  readonly get = async <T = unknown>(key: string): Promise<T | undefined> =>
    this.#cache.get<T>(this.#key(key))

  readonly getMany = async <T = unknown>(keys: string[]): Promise<(T | undefined)[]> =>
    this.#cache.getMany<T>(keys.map(key => this.#key(key)))

  readonly set = async (key: string, value: unknown, ttl?: number): Promise<boolean> => {
    const life = ttl ? { ttl: `${Math.ceil(ttl)}ms` } : {}
    await this.#cache.set(this.#key(key), value, {
      ...life,
      tags: this.#tag === undefined ? [] : [this.#tag]
    })
    return true
  }

  readonly delete = async (key: string): Promise<boolean> => await this.#cache.delete(this.#key(key)) > 0

  readonly deleteMany = async (keys: string[]): Promise<boolean> =>
    await this.#cache.delete(...keys.map(key => this.#key(key))) > 0

  readonly has = async (key: string): Promise<boolean> => this.#cache.has(this.#key(key))

  readonly clear = async (): Promise<void> =>
    this.#tag === undefined ? this.#cache.flush() : this.#cache.invalidateTag(this.#tag)

  async setMany (entries: readonly KeyvEntry[]): Promise<boolean[]> {
    return Promise.all(entries.map(({ key, value, ttl }) => this.set(key, value, ttl)))
  }

  async hasMany (keys: string[]): Promise<boolean[]> {
    return (await this.getMany(keys)).map(value => value !== undefined)
  }

  get #tag (): string | undefined {
    return this.namespace ? `keyv:${this.namespace}` : undefined
  }

  // The length makes the key unambiguous: no other namespace and key yield the same text.
  #key (key: string): string {
    const { namespace } = this
    return namespace ? `keyv:${namespace.length}:${namespace}:${key}` : key
  }
}
