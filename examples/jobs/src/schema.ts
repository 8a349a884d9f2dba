import type { Generated } from 'kysely'

/** The application's tables, as types for Kysely. */
export interface Schema {
  orders: { tenant_id: string; id: Generated<string>; amount: number }
  reports: { tenant_id: string; id: Generated<string>; total: string | null }
  outbox: { tenant_id: string; id: Generated<string>; report_id: string }
}

declare module 'fastify-tenancy' {
  interface Register {
    database: Schema
    tenantTables: 'orders' | 'reports' | 'outbox'
  }
}
