import type { RateLimitOptions as RouteRateLimitOptions } from '@fastify/rate-limit'
import type { RequestTenancy } from '@fastify-tenancy/core'

import type { TenantLimits } from './limits.ts'
import type { TenantRateLimit } from './plugin.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** The current limits and their state. */
    readonly tenantRateLimit: TenantRateLimit
  }

  interface FastifyRequest {
    /** The suite's state of this request. Set by `@fastify-tenancy/resolver`. */
    readonly tenancy: RequestTenancy
    /** The limits of the request's tenant, or undefined without a tenant. */
    readonly tenantLimits: TenantLimits | undefined
  }

  interface FastifyContextConfig {
    /** A limit of this route per tenant, in addition to the tenant's limit. */
    rateLimit?: RouteRateLimitOptions | false
  }
}
