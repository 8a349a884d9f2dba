import type { RequestTenancy, RouteTenancy, Tenant } from '@fastify-tenancy/core'

import type { TenantResolver } from './resolver.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /**
     * The tenant of this request, still there in `onSend`, `onResponse`, `onError`, `onTimeout` and `onRequestAbort`.
     * It never throws. Whatever its type says, it is `undefined` where there is no tenant: before it was looked up, on
     * `'off'` routes, on `'optional'` ones whose host names no tenant, and where the request is refused with 400 or 404.
     */
    readonly tenant: Tenant
    /** The strategy that found the tenant: `'subdomain'`, `'domain'`, `'header'`, `'path'`, `'claim'`, `'function'` or `'fallback'`. */
    readonly tenantSource: string | undefined
    /** What the suite knows of this request. */
    readonly tenancy: RequestTenancy
  }

  interface FastifyInstance {
    /** Look-ups apart from a request. */
    readonly tenantResolver: TenantResolver
  }

  interface FastifyContextConfig {
    /** Whether this route needs a tenant. @default 'required' */
    tenancy?: RouteTenancy
  }
}
