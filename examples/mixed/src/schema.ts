import type { Generated } from 'kysely'

/** The application's table, as type for Kysely. Handlers do not know the tenant's strategy. */
export interface Schema {
  projects: { tenant_id: string; id: Generated<string>; name: string }
}

declare module 'fastify-tenancy' {
  interface Register {
    database: Schema
    tenantTables: 'projects'
  }
}
