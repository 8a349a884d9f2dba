import type { Generated } from 'kysely'

/** Types for Kysely. The ids of organizations are texts, so the tenant column is one, too. */
export interface Schema {
  projects: { tenant_id: string; id: Generated<string>; name: string }
}

declare module 'fastify-tenancy' {
  interface Register {
    database: Schema
    tenantTables: 'projects'
  }
}

declare module 'fastify' {
  interface FastifyRequest {
    /** The user who is signed in and belongs to the request's organization. */
    member: { readonly user: string; readonly role: string; readonly organization: string } | undefined
  }
}
