import { inTransaction, type SqlClient } from '../client/sql-client.ts'
import { onePerLine } from './one-per-line.ts'

/**
 * `'error'`: rows of other tenants can be shown or touched. `'warning'`: a layer of the separation is weaker than it was made to be,
 * or something is about to fail. `'info'`: could be made stricter.
 */
export type FindingLevel = 'error' | 'warning' | 'info'

/** Something that the doctor found. */
export interface Finding {
  /** The check, such as `D101`: never given to another. */
  readonly id: string
  readonly level: FindingLevel
  /** What it was found at, as PostgreSQL calls it: `table public.notes`. With the id, the key of a baseline. */
  readonly object: string
  /** What it means, in one sentence. */
  readonly meaning: string
  /** The SQL that mends it, one statement a line; a comment (`-- …`) where no SQL does. */
  readonly fix: string
}

/** One check of a family: what its findings have in common. */
export interface Check {
  readonly level: FindingLevel
  readonly meaning: string
}

/** Checks over one part of the catalog, by one query over the whole of it. */
export interface Family {
  readonly checks: Readonly<Record<string, Check>>
  /** Takes the input as its only parameter, and gives rows of {@link FindingRow}. Names are looked up in pg_catalog alone. */
  readonly text: string
  /** Keys of the input that this family reads and most others do not: no other family is sent them. @default none */
  readonly reads?: readonly string[]
}

/** What a check's query answers. */
export interface FindingRow {
  readonly id: string
  readonly object: string
  readonly fix: string
  /** What is particular about this one, as the beginning of the sentence. */
  readonly says?: string | null
  /** Where this one weighs less than others of its check. */
  readonly level?: FindingLevel | null
  /** Of the checks of logins: what the login is for. */
  readonly use?: 'app' | 'tenantRoles' | 'global'
}

/**
 * Runs families of checks on one snapshot of the catalog.
 *
 * @param input what every family is sent
 * @param more values by key, of which a family is sent those that it `reads`. A list of tenants can be long.
 */
export async function runChecks (
  client: SqlClient,
  families: readonly Family[],
  input: object,
  more: Readonly<Record<string, unknown>> = {}
): Promise<Finding[]> {
  return inCatalog(client, async () => {
    const findings: Finding[] = []
    for (const family of families) {
      const read = Object.fromEntries((family.reads ?? []).map(key => [key, more[key] ?? null]))
      const rows = await runFamily(client, family, { ...input, ...read })
      findings.push(...rows.map(row => toFinding(row, family.checks)))
    }
    return findings
  })
}

/** Runs one family. To be called in {@link inCatalog}. */
export async function runFamily (client: SqlClient, { text }: Family, input: object): Promise<FindingRow[]> {
  const { rows } = await client.query<FindingRow & { readonly object: string | null }>(text, [
    JSON.stringify(input)
  ])
  // Without a name: it was dropped while we looked.
  return rows.filter(({ object }) => object !== null)
}

/** Does what reads the catalog in a transaction that writes nothing, where no name can mean anything but the server's own. */
export async function inCatalog<T> (client: SqlClient, work: () => Promise<T>): Promise<T> {
  return inTransaction(client, async () => {
    // pg_temp last: left out it would come first, and a temporary table that an earlier borrower made could pose as a catalog.
    // A few large joins whose sizes the planner cannot know: compiling them would take longer than running them, and what it
    // takes for few rows and puts into a nested loop can be ten thousand. Planning takes longer than running, and a third
    // less of it without merge joins.
    await client.query(
      "set transaction isolation level repeatable read read only; set local search_path = pg_catalog, pg_temp; set local jit = off; set local enable_nestloop = off; set local enable_mergejoin = off; set local max_parallel_workers_per_gather = 0; set local work_mem = '64MB'; set local lock_timeout = '5s'; set local statement_timeout = '1min'"
    )
    return work()
  })
}

/** A row as a finding, with the level and the meaning of its check. */
export function toFinding ({ id, object, fix, says, level }: FindingRow, checks: Family['checks']): Finding {
  const check = checks[id]
  if (check === undefined) throw new TypeError(`${id} is no check of its family`)
  const meaning = says ? `${says}: ${check.meaning}` : check.meaning
  return { id, level: level ?? check.level, object, meaning, fix: onePerLine(fix) }
}

/** SQL: what an object is called, whatever the server's language: `table public.notes`. */
export function named (catalog: string, oid: string): string {
  return `(select named.type || ' ' || named.identity from pg_catalog.pg_identify_object('pg_catalog.${catalog}'::regclass, ${oid}, 0) named)`
}
