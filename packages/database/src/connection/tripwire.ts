import type { Field, SqlClient } from '@fastify-tenancy/postgres/client'

/** Checks the rows of one tenant before the application receives them. */
export interface RowGuard {
  /** The value that every tenant column must have, in the server's text format. */
  readonly tenant: string
  /**
   * Returns the positions of the tenant columns among these fields; undefined if a field's table is
   * not known yet.
   */
  tenantColumns(fields: readonly Field[]): readonly number[] | undefined
  /** Loads the tenant columns of tables that appear in `fields` and are not known yet. */
  loadColumns(fields: readonly Field[], client: SqlClient): Promise<void>
}

/** The tenant columns' numbers, by relation id; empty for a relation without tenant columns. */
export type TenantColumns = ReadonlyMap<number, readonly number[]>

/** Reads the tenant columns of `tables`, or of all listed relations. See `readTenantColumns`. */
type ReadColumns = (
  client: SqlClient,
  tables?: readonly number[]
) => Promise<TenantColumns>

/**
 * Milliseconds after which the catalog is read again, because a table can be rebuilt and take
 * another table's name.
 */
const freshness = 60_000

/**
 * The last defence. If policies, roles and context are all wrong, a selected tenant column still
 * reveals a foreign row. RowDescription names each value's table and column, so this costs one
 * comparison per row. Unknown tables are looked up before their first row; all are read again once
 * a minute.
 */
export class Tripwire {
  readonly #pool: SqlClient
  readonly #read: ReadColumns
  #columns = new Map<number, readonly number[]>()
  #readAt = 0

  /** @param pool used to read the catalog in the background */
  constructor (pool: SqlClient, read: ReadColumns) {
    this.#pool = pool
    this.#read = read
  }

  /** Reads the catalog again and drops relations that no longer exist. */
  async refresh (): Promise<void> {
    this.#readAt = Date.now()
    const read = new Map(await this.#read(this.#pool))
    const others = [...this.#columns.keys()].filter(table => !read.has(table))
    for (const [table, columns] of others.length === 0 ? [] : await this.#read(this.#pool, others))
      read.set(table, columns)
    this.#columns = read
  }

  /** Returns the guard of one tenant. */
  guard (tenant: string): RowGuard {
    return {
      tenant,
      tenantColumns: fields => this.#tenantColumns(fields),
      loadColumns: async (fields, client) => {
        const tables = fields.map(({ tableID }) => tableID).filter(table =>
          table !== 0 && !this.#columns.has(table)
        )
        for (const [table, columns] of await this.#read(client, tables)) this.#columns.set(table, columns)
      }
    }
  }

  #tenantColumns (fields: readonly Field[]): readonly number[] | undefined {
    // A failure is ignored, because the next minute tries again.
    if (Date.now() - this.#readAt > freshness) this.refresh().catch(() => {})
    let found: number[] | undefined
    for (const [position, { tableID, columnID }] of fields.entries()) {
      if (tableID === 0) continue
      const columns = this.#columns.get(tableID)
      if (columns === undefined) return undefined
      if (columns.includes(columnID)) (found ??= []).push(position)
    }
    return found ?? none
  }
}

const none: readonly number[] = []

/**
 * Whether any of these columns holds another tenant's id. NULL is allowed, because it comes from
 * the missing side of an outer join.
 */
export function isForeign (
  { tenant }: RowGuard,
  positions: readonly number[],
  row: readonly (string | null)[]
): boolean {
  // A loop instead of a closure, because this runs for every row.
  for (const position of positions) {
    if (row[position] != null && row[position] !== tenant) return true
  }
  return false
}
