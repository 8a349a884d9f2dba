import type { Field } from './pg-internals.ts'
import type { SqlClient } from '../setup/sql-client.ts'

/** Looks at the rows of one tenant on their way to the application. */
export interface RowGuard {
  /** The value that every tenant column must have, as the server writes it. */
  readonly tenant: string
  /** The positions, among these columns, of tenant columns of known tables. */
  tenantColumns (fields: readonly Field[]): readonly number[]
}

/**
 * The last line: policies, roles and context may all be wrong, and a row of another tenant still does not pass,
 * as long as its tenant column is among the result's. The server says with each result which table and column
 * a value comes from, so that this costs a comparison per row and no statement.
 */
export class Tripwire {
  readonly #load: () => Promise<ReadonlyMap<number, number>>
  #columns: ReadonlyMap<number, number> = new Map()
  readonly #others = new Set<number>()
  #loading: Promise<void> | undefined

  /** @param load gives the object ids of the tenant tables with the numbers of their tenant columns. */
  constructor (load: () => Promise<ReadonlyMap<number, number>>) {
    this.#load = load
  }

  /** Reads the catalog. Two callers at once read it once. */
  refresh (): Promise<void> {
    this.#loading ??= this.#reload()
    return this.#loading
  }

  async #reload (): Promise<void> {
    try {
      this.#columns = await this.#load()
    } finally {
      this.#loading = undefined
    }
  }

  /** The guard of one tenant. */
  guard (tenant: string): RowGuard {
    return { tenant, tenantColumns: fields => this.#tenantColumns(fields) }
  }

  #tenantColumns (fields: readonly Field[]): readonly number[] {
    let found: number[] | undefined
    for (const [position, { tableID, columnID }] of fields.entries()) {
      const column = this.#columns.get(tableID)
      if (column === columnID) (found ??= []).push(position)
      else if (column === undefined && tableID !== 0) this.#meet(tableID)
    }
    return found ?? none
  }

  // A table made or made again since the catalog was read has an id that is not known. Its first result passes unseen; the next does not.
  #meet (table: number): void {
    if (this.#others.has(table) || this.#loading !== undefined) return
    // Tried again at the table's next result where the catalog could not be read.
    void this.refresh().then(() => this.#columns.has(table) || this.#others.add(table), () => {})
  }
}

const none: readonly number[] = []

/**
 * The tenant columns of these tables, in `schema` and in the schemas of tenants, by the ids under which the server's results name them.
 * 0 for a table that has none: a table that was read once is not asked for again.
 */
export async function readTenantColumns (client: SqlClient, schema: string, tables: Readonly<Record<string, string>>): Promise<ReadonlyMap<number, number>> {
  const { rows } = await client.query<{ table: number, column: number }>(`
    select c.oid::int8::float8 as table, coalesce(a.attnum, 0)::int4 as column
    from pg_catalog.pg_class c
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    left join unnest($2::text[], $3::text[]) as listed (name, tenant) on listed.name = c.relname
    left join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attname = listed.tenant
    where c.relkind in ('r', 'p', 'v', 'm', 'f') and (n.nspname = $1 or n.nspname ~ '^tenanth?_')`, [schema, Object.keys(tables), Object.values(tables)])
  return new Map(rows.map(({ table, column }) => [table, column]))
}
