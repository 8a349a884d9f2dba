import type { RequestTenancy } from '@fastify-tenancy/core'
import { assertNamespaced } from '@fastify-tenancy/redis'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'

import type { TenantCacheHandle } from './handle.ts'
import { openCache, type TenantCaches } from './open-cache.ts'
import { resolveCacheOptions, type CacheOptions } from './options.ts'

async function plugin (app: FastifyInstance, input: CacheOptions): Promise<void> {
  const options = resolveCacheOptions(input)
  assertNamespaced(options)
  const caches = openCache(options, app.log)

  const { forScope, health } = caches
  app.decorate('tenantCache', Object.freeze<TenantCaches>({ forScope, health }))
  app.decorateRequest(options.decorator, {
    getter (this: FastifyRequest): TenantCacheHandle {
      const scope = (this as FastifyRequest & { tenancy: RequestTenancy }).tenancy.requireScope()
      scope.assertOpen()
      return forScope(scope)
    }
  })

  if (health().store === 'memory')
    app.log.info(
      'cached values are kept in this process only, because the option redis is missing: other ' +
        'processes neither see nor invalidate them'
    )
  app.addHook('onReady', () => caches.start())
  app.addHook('onClose', () => caches.close())
}

/**
 * Decorates requests with the cache of their tenant, `request.cache`. Needs
 * `@fastify-tenancy/resolver`.
 */
export const tenantCache: typeof plugin = fp(plugin, {
  name: '@fastify-tenancy/cache',
  fastify: '5.x',
  dependencies: ['@fastify-tenancy/resolver']
})
