import type { RequestTenancy, RouteTenancy } from '@fastify-tenancy/core'
import type pg from 'pg'

import type { DatabaseRuntime } from './database.ts'
import type { TenantKysely } from './options/types.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** The suite's data of this request. */
    readonly tenancy: RequestTenancy
    /**
     * The database of this request's tenant. Nothing is opened before its first query. Closed with
     * the reply.
     */
    readonly db: TenantKysely
  }
  interface FastifyContextConfig {
    /** Whether this route needs a tenant. @default 'required' */
    tenancy?: RouteTenancy
  }
  interface FastifyInstance {
    readonly tenantDatabase: DatabaseRuntime
  }
}

declare module '@fastify-tenancy/core' {
  interface TenantWork {
    /**
     * The database of this work's tenant. Nothing is opened before its first query. Closed when the
     * work ends.
     */
    readonly db: TenantKysely
    /**
     * A pool of `pg` that runs as this work's tenant, by the rules of `db`. `request.tenancy.pg` is
     * the same for a request.
     */
    readonly pg: pg.Pool
  }
}
