import type { ColumnType, Generated } from 'kysely'

export type Role = 'owner' | 'member'

/** The application's tables, as types for Kysely. */
export interface Schema {
  users: { id: Generated<string>; email: string; password: string }
  memberships: { tenant_id: string; user_id: string; role: Role }
  invitations: {
    token_hash: string
    tenant_id: string
    email: string
    role: Role
    expires_at: ColumnType<Date>
  }
  projects: { tenant_id: string; id: Generated<string>; name: string; created_at: Generated<Date> }
}

declare module 'fastify-tenancy' {
  interface Register {
    database: Schema
    tenantTables: 'projects'
    globalTables: 'users' | 'memberships' | 'invitations'
  }
}

declare module '@fastify/jwt' {
  interface FastifyJWT {
    /** The tenant's id stands in the token: ids never change, slugs may. */
    payload: { sub: string; tenant: string; role: Role }
    user: { sub: string; tenant: string; role: Role }
  }
}
