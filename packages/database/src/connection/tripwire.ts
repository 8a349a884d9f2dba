import type { Field } from './pg-internals.ts'
import type { SqlClient } from '../setup/sql-client.ts'
import type { ResolvedTables } from '../setup/table-lists.ts'

/** Looks at the rows of one tenant on their way to the application. */
export interface RowGuard {
  /** The value that every tenant column must have, as the server writes it. */
  readonly tenant: string
  /** The positions, among these columns, of tenant columns; undefined where one is of a table that is not known yet. */
  tenantColumns(fields: readonly Field[]): readonly number[] | undefined
  /** Reads of the catalog what is not known of the tables of these columns. */
  learn(fields: readonly Field[], client: SqlClient): Promise<void>
}

/** Reads the tenant columns' numbers of `tables`, or of all that tenants may read; see {@link readTenantColumns}. */
export type ReadColumns = (
  client: SqlClient,
  tables?: readonly number[]
) => Promise<ReadonlyMap<number, number>>

/** How long what the catalog said is taken for true, in milliseconds: a table can be rebuilt and take another's name. */
const freshness = 60_000

/**
 * The last line: policies, roles and context may all be wrong, and a row of another tenant still does not pass,
 * as long as its tenant column is among the result's. The server says with each result which table and column
 * a value comes from, so that this costs a comparison per row and no statement. A table that was made since the catalog
 * was read is looked up before the first of its rows is handed out; all of them are read again once a minute, in the background.
 */
export class Tripwire {
  readonly #pool: SqlClient
  readonly #read: ReadColumns
  #columns = new Map<number, number>()
  #readAt = 0

  /** @param pool where the catalog is read in the background. */
  constructor (pool: SqlClient, read: ReadColumns) {
    this.#pool = pool
    this.#read = read
  }

  /** Reads the catalog, and forgets what is not there any more. */
  async refresh (): Promise<void> {
    this.#readAt = Date.now()
    const read = new Map(await this.#read(this.#pool))
    const others = [...this.#columns.keys()].filter(table => !read.has(table))
    for (const [table, column] of others.length === 0 ? [] : await this.#read(this.#pool, others))
      read.set(table, column)
    this.#columns = read
  }

  /** The guard of one tenant. */
  guard (tenant: string): RowGuard {
    return {
      tenant,
      tenantColumns: fields => this.#tenantColumns(fields),
      learn: async (fields, client) => {
        const tables = fields.map(({ tableID }) => tableID).filter(table =>
          table !== 0 && !this.#columns.has(table)
        )
        for (const [table, column] of await this.#read(client, tables)) this.#columns.set(table, column)
      }
    }
  }

  #tenantColumns (fields: readonly Field[]): readonly number[] | undefined {
    if (Date.now() - this.#readAt > freshness) this.refresh().catch(() => {}) // the next minute is another try
    let found: number[] | undefined
    for (const [position, { tableID, columnID }] of fields.entries()) {
      if (tableID === 0) continue
      const column = this.#columns.get(tableID)
      if (column === undefined) return undefined
      if (column === columnID) (found ??= []).push(position)
    }
    return found ?? none
  }
}

const none: readonly number[] = []

/** Positions of a row that are not the tenant's: null is nobody's, the missing side of an outer join. */
export function isForeign (
  { tenant }: RowGuard,
  positions: readonly number[],
  row: readonly (string | null)[]
): boolean {
  return positions.some(position => row[position] != null && row[position] !== tenant)
}

/**
 * The tenant columns of tables, by the ids under which the server's results name them: of those that are listed, in `schema` and
 * in the schemas of tenants. 0 for a table that has none: it is not asked for again.
 *
 * @param only the tables to read. @default the listed ones, and all in schemas of tenants
 */
export async function readTenantColumns (
  client: SqlClient,
  { schema, tenant, shared, global }: ResolvedTables,
  only?: readonly number[]
): Promise<ReadonlyMap<number, number>> {
  const { rows } = await client.query<{ table: unknown; number: unknown }>(
    `
    select c.oid::int8::text as table, coalesce(case when n.is_main or n.is_home then a.attnum end, 0)::text as number
    from pg_catalog.pg_class c
    join (
      select n.oid, nspname = $1 as is_main, nspname ~ '^tenanth?_' or d.description like 'fastify-tenancy: tenant _%' as is_home
      from pg_catalog.pg_namespace n left join pg_catalog.pg_description d on d.objoid = n.oid and d.classoid = 'pg_catalog.pg_namespace'::pg_catalog.regclass
    ) n on n.oid = c.relnamespace
    left join unnest($2::text[], $3::text[]) as listed (name, tenant) on listed.name = c.relname
    left join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attname = listed.tenant and not a.attisdropped
    where case when $5::oid[] is null then c.relkind in ('r', 'p', 'v', 'm', 'f') and (n.is_home or n.is_main and (listed.name is not null or c.relname = any($4))) else c.oid = any($5) end`,
    [schema, Object.keys(tenant), Object.values(tenant), [...shared, ...global], only ?? null]
  )
  // As numbers whatever the pool's type parsers make of them.
  return new Map(rows.map(({ table, number }) => [Number(table), Number(number)]))
}
