import type { TenantColumnType } from '@fastify-tenancy/postgres/tables'

/** A tenant table, as used by the rewriter. */
export interface RewrittenTable {
  readonly name: string
  readonly column: string
  readonly type: TenantColumnType
}

/** The tables by name. A name in none of these lists is refused. */
export interface RowTables {
  /** The schema of all tables. */
  readonly schema: string
  readonly tenant: ReadonlyMap<string, RewrittenTable>
  /** Reference tables: every tenant may read them and none may write them. */
  readonly shared: ReadonlySet<string>
}
