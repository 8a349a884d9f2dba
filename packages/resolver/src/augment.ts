import type { RequestTenancy, RouteTenancy, Tenant } from '@fastify-tenancy/core'

import type { TenantResolver } from './resolver.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /**
     * The tenant of this request. It is still set in `onSend`, `onResponse`, `onError`, `onTimeout`
     * and `onRequestAbort`.
     *
     * Reading it never throws. Despite its type it is `undefined` before the look-up and on `'off'`
     * routes. So it is on `'optional'` routes whose host names no tenant, and if the request is
     * refused with 400 or 404.
     */
    readonly tenant: Tenant
    /**
     * The strategy that found the tenant: `'subdomain'`, `'domain'`, `'header'`, `'path'`,
     * `'claim'`, `'function'` or `'fallback'`.
     */
    readonly tenantSource: string | undefined
    /** The suite's state of this request. */
    readonly tenancy: RequestTenancy
  }

  interface FastifyInstance {
    /** Looks up tenants outside a request. */
    readonly tenantResolver: TenantResolver
  }

  interface FastifyContextConfig {
    /** Whether this route needs a tenant. @default 'required' */
    tenancy?: RouteTenancy
  }
}
