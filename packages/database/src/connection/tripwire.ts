import type { Field, SqlClient } from '@fastify-tenancy/postgres/client'

/** Looks at the rows of one tenant on their way to the application. */
export interface RowGuard {
  /** The value that every tenant column must have, as the server writes it. */
  readonly tenant: string
  /** The positions, among these columns, of tenant columns; undefined where one is of a table that is not known yet. */
  tenantColumns(fields: readonly Field[]): readonly number[] | undefined
  /** Reads of the catalog what is not known of the tables of these columns. */
  loadColumns(fields: readonly Field[], client: SqlClient): Promise<void>
}

/** The numbers of the tenant columns of each relation, by its id; none for a relation that has no such column. */
export type TenantColumns = ReadonlyMap<number, readonly number[]>

/** Reads the tenant columns of `tables`, or of all listed relations; see `readTenantColumns`. */
export type ReadColumns = (
  client: SqlClient,
  tables?: readonly number[]
) => Promise<TenantColumns>

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
  #columns = new Map<number, readonly number[]>()
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
    for (const [table, columns] of others.length === 0 ? [] : await this.#read(this.#pool, others))
      read.set(table, columns)
    this.#columns = read
  }

  /** The guard of one tenant. */
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
    if (Date.now() - this.#readAt > freshness) this.refresh().catch(() => {}) // the next minute is another try
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

/** Positions of a row that are not the tenant's: null is nobody's, the missing side of an outer join. */
export function isForeign (
  { tenant }: RowGuard,
  positions: readonly number[],
  row: readonly (string | null)[]
): boolean {
  // A loop and no closure: this runs for every row.
  for (const position of positions) {
    if (row[position] != null && row[position] !== tenant) return true
  }
  return false
}
