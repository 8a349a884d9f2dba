import type { Generated } from 'kysely'

/** The application's tables, as types for Kysely. */
export interface Schema {
  projects: { org_id: string; id: Generated<string>; name: string }
  tasks: { tenant_id: string; id: Generated<string>; project_id: string; title: string }
}

declare module 'fastify-tenancy' {
  interface Register {
    database: Schema
    tenantTables: 'projects' | 'tasks'
  }
}
