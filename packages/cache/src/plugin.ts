import type { RequestTenancy, TenantScope } from '@fastify-tenancy/core'
import { openRedis, type RedisHealth } from '@fastify-tenancy/redis'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'

import { Engine } from './engine.ts'
import { ScopedCache, type TenantCacheHandle } from './handle.ts'
import { Loader } from './loader.ts'
import { LocalTier } from './local-tier.ts'
import { MemoryStore } from './memory-store.ts'
import { resolveCacheOptions, type CacheOptions, type ResolvedCacheOptions } from './options.ts'
import { RedisStore } from './redis-store.ts'
import type { CacheStore } from './store.ts'

/** What the plugin puts on the app, as `app.tenantCache`. */
export interface TenantCaches {
  /** The cache of the scope's tenant, the same at each call. It ends with the scope. */
  forScope (scope: TenantScope): TenantCacheHandle
  health (): CacheHealth
}

/** Where the values are, and how that store does. */
export interface CacheHealth {
  readonly store: 'redis' | 'memory'
  readonly status: RedisHealth['status']
}

async function plugin (app: FastifyInstance, given: CacheOptions): Promise<void> {
  const options = resolveCacheOptions(given)
  const redis = options.redis === undefined ? undefined : openRedis(options.redis, { name: 'fastify-tenancy:cache' })
  const local = redis !== undefined && options.local !== false ? new LocalTier(new RedisStore(redis), redis, options.local) : undefined
  const store = local ?? (redis === undefined ? new MemoryStore(options.maxBytes) : new RedisStore(redis))
  const forScope = cachesOn(store, options)

  app.decorate('tenantCache', Object.freeze<TenantCaches>({
    forScope,
    health: () => redis === undefined ? { store: 'memory', status: 'ok' } : { store: 'redis', status: redis.health().status }
  }))
  app.decorateRequest(options.decorator, {
    getter (this: FastifyRequest): TenantCacheHandle {
      const scope = (this as FastifyRequest & { tenancy: RequestTenancy }).tenancy.requireScope()
      scope.assertOpen()
      return forScope(scope)
    }
  })

  if (redis === undefined) {
    app.log.info('cached values are kept in this process only: without the option redis, other processes neither see nor invalidate them')
    return
  }
  let stopListening: (() => Promise<void>) | undefined
  app.addHook('onReady', async () => {
    await redis.ready()
    stopListening = await local?.listen()
  })
  app.addHook('onClose', async () => {
    await stopListening?.()
    if (redis !== options.redis) await redis.close()
  })
}

/** Makes each scope's handle, at its first use. */
function cachesOn (store: CacheStore, options: ResolvedCacheOptions): (scope: TenantScope) => TenantCacheHandle {
  const engine = new Engine(store, options)
  const loader = new Loader(engine)
  const handle = Symbol('cache')
  return scope => scope.handle(handle, () => new ScopedCache(scope, engine, loader))
}

/** Decorates requests with the cache of their tenant, `request.cache`. Needs `@fastify-tenancy/resolver`. */
export const tenantCache: typeof plugin = fp(plugin, {
  name: '@fastify-tenancy/cache',
  fastify: '5.x',
  dependencies: ['@fastify-tenancy/resolver']
})
