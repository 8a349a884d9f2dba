// Tables of the snippets that declare none of their own.
import type { JWT } from '@fastify/jwt'
import type { Generated } from 'kysely'

interface Row {
  tenant_id: string
  id: Generated<string>
  name: string
}

declare module 'fastify-tenancy' {
  interface Register {
    database: {
      projects: Row
      tasks: Row & { project_id: string }
      drafts: Row
      countries: { code: string; name: string }
      users: { id: string; email: string }
    }
    tenantTables: 'projects' | 'tasks' | 'drafts'
    sharedTables: 'countries'
    globalTables: 'users'
  }
}

declare module '@fastify/jwt' {
  interface FastifyJWT {
    user: { tenant: string; jwt?: JWT }
  }
}
