import type { RateLimitOptions as RouteRateLimitOptions } from '@fastify/rate-limit'
import type { RequestTenancy } from '@fastify-tenancy/core'

import type { TenantLimits } from './limits.ts'
import type { TenantRateLimit } from './plugin.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** The limits that hold at present, and how they stand. */
    readonly tenantRateLimit: TenantRateLimit
  }

  interface FastifyRequest {
    /** What the suite knows of this request. Set by `@fastify-tenancy/resolver`. */
    readonly tenancy: RequestTenancy
    /** The limits of the request's tenant; undefined where there is no tenant. */
    readonly tenantLimits: TenantLimits | undefined
  }

  interface FastifyContextConfig {
    /** A limit of this route's own, per tenant, on top of the tenant's limit. */
    rateLimit?: RouteRateLimitOptions | false
  }
}
