import type { TenantCacheHandle } from './handle.ts'

/** The methods of a Keyv store. */
export interface KeyvLike {
  get<T = unknown> (key: string): Promise<T | undefined>
  getMany<T = unknown> (keys: string[]): Promise<(T | undefined)[]>
  /** @param ttl milliseconds; the plugin's `ttl` where it is missing or 0. */
  set (key: string, value: unknown, ttl?: number): Promise<boolean>
  delete (key: string): Promise<boolean>
  deleteMany (keys: string[]): Promise<boolean>
  has (key: string): Promise<boolean>
  clear (): Promise<void>
}

/** A tenant's cache with the methods and units of a Keyv store. `clear()` removes all values of the tenant. */
export function toKeyv (cache: TenantCacheHandle): KeyvLike {
  return {
    get: key => cache.get(key),
    getMany: keys => cache.getMany(keys),
    async set (key, value, ttl) {
      await cache.set(key, value, ttl ? { ttl: `${Math.ceil(ttl)}ms` } : undefined)
      return true
    },
    delete: async key => await cache.delete(key) > 0,
    deleteMany: async keys => await cache.delete(...keys) > 0,
    has: key => cache.has(key),
    clear: () => cache.flush()
  }
}
