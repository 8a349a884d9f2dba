import type { TenantColumnType } from '@fastify-tenancy/postgres/tables'

/** A tenant table as the rewriter sees it. */
export interface RewrittenTable {
  readonly name: string
  readonly column: string
  readonly type: TenantColumnType
}

/** Which names stand for what. A name that is in none of these is refused. */
export interface RowTables {
  /** The schema of all tables. */
  readonly schema: string
  readonly tenant: ReadonlyMap<string, RewrittenTable>
  /** Readable by all tenants, written by none. */
  readonly shared: ReadonlySet<string>
}
