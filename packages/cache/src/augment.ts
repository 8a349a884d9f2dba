import type { TenantCacheHandle } from './handle.ts'
import type { TenantCaches } from './open-cache.ts'

declare module 'fastify' {
  interface FastifyInstance {
    readonly tenantCache: TenantCaches
  }
  interface FastifyRequest {
    /**
     * The cache of this request's tenant, until the request ends.
     *
     * @throws FST_TENANCY_CONTEXT_MISSING if the route is off or there is no tenant;
     * FST_TENANCY_SCOPE_CLOSED after the end.
     */
    readonly cache: TenantCacheHandle
  }
}

declare module '@fastify-tenancy/core' {
  interface TenantWork {
    /** The cache of this work's tenant, until the work ends. */
    readonly cache: TenantCacheHandle
  }
}
