import type { ScopeLogger, TenantScope } from '@fastify-tenancy/core'
import { openRedis, type RedisHealth } from '@fastify-tenancy/redis'

import { CacheContext } from './cache-context.ts'
import { ScopedCache, type TenantCacheHandle } from './handle.ts'
import { Loader } from './loader.ts'
import { LocalCacheTier } from './local-tier.ts'
import { MemoryStore } from './memory-store.ts'
import type { ResolvedCacheOptions } from './options.ts'
import { RedisStore } from './redis-store.ts'
import type { CacheStore } from './store.ts'

/** The decorator `app.tenantCache`. */
export interface TenantCaches {
  /**
   * Returns the cache of the scope's tenant, the same object at each call. It ends with the scope.
   */
  forScope(scope: TenantScope): TenantCacheHandle
  health(): CacheHealth
}

/** Where the values are stored, and the state of that store. */
export interface CacheHealth {
  readonly store: 'redis' | 'memory'
  readonly status: RedisHealth['status']
}

/** The caches of one application. */
export interface OpenCache extends TenantCaches {
  /** Waits for Redis for a bounded time and subscribes to changes. */
  start(): Promise<void>
  /** Closes the Redis client if it was opened here. A client that was passed in stays open. */
  close(): Promise<void>
}

const silent: ScopeLogger = { info () {}, warn () {}, error () {} }

/** Opens the store of checked options. An outage of Redis is logged once. */
export function openCache (options: ResolvedCacheOptions, log: ScopeLogger = silent): OpenCache {
  const redis = options.redis === undefined
    ? undefined
    : openRedis(options.redis, { name: 'fastify-tenancy:cache', namespace: options.namespace, log })
  const remote = redis && new RedisStore(redis, log, options.secrets)
  const local = redis !== undefined && remote !== undefined && options.local !== false
    ? new LocalCacheTier(remote, redis, options.local)
    : undefined
  const store = local ?? remote ?? new MemoryStore(options.maxBytes)
  let stopListening: (() => Promise<void>) | undefined
  return Object.freeze<OpenCache>({
    forScope: cachesOn(store, options),
    health: () =>
      redis === undefined
        ? { store: 'memory', status: 'ok' }
        : { store: 'redis', status: redis.health().status },
    start: async () => {
      await redis?.ready()
      stopListening = await local?.listen()
    },
    close: async () => {
      await stopListening?.()
      if (redis !== options.redis) await redis?.close()
    }
  })
}

/** Creates each scope's handle at its first use. */
function cachesOn (
  store: CacheStore,
  options: ResolvedCacheOptions
): (scope: TenantScope) => TenantCacheHandle {
  const context = new CacheContext(store, options)
  const loader = new Loader(context)
  const handle = Symbol('cache')
  return scope => scope.handle(handle, () => new ScopedCache(scope, context, loader))
}
