import type { RequestTenancy, RouteTenancy, Tenant } from '@fastify-tenancy/core'

import type { TenantResolver } from './resolver.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /**
     * The tenant of this request, still there in `onSend`, `onResponse`, `onError`, `onTimeout` and `onRequestAbort`.
     * On an `'optional'` route without a tenant it is `undefined`, whatever its type says.
     *
     * @throws the refusal of a request that is being refused, and FST_TENANCY_CONTEXT_MISSING on `'off'` routes.
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
