// A stub of what the cache needs of the resolver, without hosts and registries. A header names the
// tenant.
import type { FastifyInstance } from 'fastify'
import Fastify from 'fastify'
import fp from 'fastify-plugin'

import tenantCache, { type CacheOptions, type TenantCacheHandle } from '@fastify-tenancy/cache'
import { toTenant, type ScopeLogger } from '@fastify-tenancy/core'
import { RequestTenancy, resolveRouteTenancy, TenantScope } from '@fastify-tenancy/core/scope'

export const silent: ScopeLogger = { info () {}, warn () {}, error () {} }

/** An open scope of a tenant. */
export function scopeOf (id: string, log: ScopeLogger = silent): TenantScope {
  return new TenantScope(toTenant({ id, slug: slugOf(id) }), log)
}

// Ids may hold upper case and underscores, slugs may not.
function slugOf (id: string): string {
  return `s-${Buffer.from(id).toString('hex').slice(0, 40)}`
}

const resolver = fp(async (app: FastifyInstance) => {
  app.decorateRequest('tenancy')
  app.addHook('onRequest', (request, _reply, done) => {
    const tenancy = new RequestTenancy(resolveRouteTenancy(undefined))
    const id = request.headers['x-test-tenant']
    if (typeof id === 'string') tenancy.scope = scopeOf(id)
    Object.assign(request, { tenancy })
    done()
  })
  app.addHook('onResponse', (request, _reply, done) => {
    ;(request as unknown as { tenancy: RequestTenancy }).tenancy.scope?.end()
    done()
  })
}, { name: '@fastify-tenancy/resolver', fastify: '5.x' })

/** An app with the cache plugin. */
export async function appWith (options: CacheOptions = {}): Promise<FastifyInstance> {
  const app = Fastify()
  await app.register(resolver)
  await app.register(tenantCache, { ...(options.redis !== undefined && { namespace: 'test' }), ...options })
  return app
}

/** A tenant's cache in a scope of its own. */
export function cacheOf (app: FastifyInstance, id: string): TenantCacheHandle {
  return app.tenantCache.forScope(scopeOf(id))
}
