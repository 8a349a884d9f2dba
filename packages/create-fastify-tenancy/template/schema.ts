import type { Generated } from 'kysely'

// The tables as types, for `request.db`. Inserts and updates name no tenant.
export interface Schema {
  projects: {
    // #if shared
    tenant_id: string
    // #end
    id: Generated<string>
    name: string
    created_at: Generated<Date>
  }
  tasks: {
    // #if shared
    tenant_id: string
    // #end
    id: Generated<string>
    project_id: string
    title: string
    created_at: Generated<Date>
  }
}

declare module 'fastify-tenancy' {
  interface Register {
    database: Schema
    tenantTables: 'projects' | 'tasks'
  }
}
