import type { Field } from './pg-internals.ts'
import type { ResolvedTables } from '../options.ts'
import type { SqlClient } from '../setup/sql-client.ts'

/** Looks at the rows of one tenant on their way to the application. */
export interface RowGuard {
  /** The value that every tenant column must have, as the server writes it. */
  readonly tenant: string
  /** The positions, among these columns, of tenant columns; undefined where one is of a table that is not known yet. */
  tenantColumns (fields: readonly Field[]): readonly number[] | undefined
  /** Reads of the catalog what is not known of the tables of these columns. */
  learn (fields: readonly Field[], client: SqlClient): Promise<void>
}

/** Reads the tenant columns' numbers of `tables`, or of all tables there are; see {@link readTenantColumns}. */
export type ReadColumns = (client: SqlClient, tables?: readonly number[]) => Promise<ReadonlyMap<number, number>>

/**
 * The last line: policies, roles and context may all be wrong, and a row of another tenant still does not pass,
 * as long as its tenant column is among the result's. The server says with each result which table and column
 * a value comes from, so that this costs a comparison per row and no statement. A table that was made since the catalog
 * was read is looked up before the first of its rows is handed out.
 */
export class Tripwire {
  readonly #read: ReadColumns
  readonly #columns = new Map<number, number>()

  constructor (read: ReadColumns) {
    this.#read = read
  }

  /** Reads the catalog. */
  async learn (client: SqlClient, tables?: readonly number[]): Promise<void> {
    for (const [table, column] of await this.#read(client, tables)) this.#columns.set(table, column)
  }

  /** The guard of one tenant. */
  guard (tenant: string): RowGuard {
    return {
      tenant,
      tenantColumns: fields => this.#tenantColumns(fields),
      learn: (fields, client) => this.learn(client, fields.map(({ tableID }) => tableID).filter(table => !this.#isKnown(table)))
    }
  }

  #isKnown (table: number): boolean {
    return table === 0 || this.#columns.has(table)
  }

  #tenantColumns (fields: readonly Field[]): readonly number[] | undefined {
    let found: number[] | undefined
    for (const [position, { tableID, columnID }] of fields.entries()) {
      const column = this.#columns.get(tableID)
      if (column === columnID) (found ??= []).push(position)
      else if (column === undefined && tableID !== 0) return undefined
    }
    return found ?? none
  }
}

const none: readonly number[] = []

/** Positions of a row that are not the tenant's: null is nobody's, the missing side of an outer join. */
export function isForeign ({ tenant }: RowGuard, positions: readonly number[], row: readonly (string | null)[]): boolean {
  return positions.some(position => row[position] != null && row[position] !== tenant)
}

/**
 * The tenant columns of tables, by the ids under which the server's results name them: of those listed, in `schema` and in the
 * schemas of tenants. 0 for a table that has none: a table that was read once is not asked for again.
 *
 * @param only the tables to read. @default all of these schemas
 */
export async function readTenantColumns (client: SqlClient, { schema, tenant }: Pick<ResolvedTables, 'schema' | 'tenant'>, only?: readonly number[]): Promise<ReadonlyMap<number, number>> {
  const { rows } = await client.query<{ table: number, column: number }>(`
    select c.oid::int8::float8 as table, coalesce(case when n.ours then a.attnum end, 0)::int4 as column
    from pg_catalog.pg_class c
    join (select oid, nspname = $1 or nspname ~ '^tenanth?_' as ours from pg_catalog.pg_namespace) n on n.oid = c.relnamespace
    left join unnest($2::text[], $3::text[]) as listed (name, tenant) on listed.name = c.relname
    left join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attname = listed.tenant
    where case when $4::oid[] is null then n.ours and c.relkind in ('r', 'p', 'v', 'm', 'f') else c.oid = any($4) end`,
  [schema, Object.keys(tenant), Object.values(tenant), only ?? null])
  return new Map(rows.map(({ table, column }) => [table, column]))
}
