import { inTransaction, type SqlClient } from '../client/sql-client.ts'
import { onePerLine } from './one-per-line.ts'

/**
 * `'error'`: rows of other tenants can be shown or touched. `'warning'`: a layer of the separation
 * is weaker than it was made to be, or an operation is about to fail. `'info'`: could be made
 * stricter.
 */
export type FindingLevel = 'error' | 'warning' | 'info'

/** A problem that the doctor found. */
export interface Finding {
  /** The check's id, such as `D101`, which is never reused. */
  readonly id: string
  readonly level: FindingLevel
  /**
   * The object, as PostgreSQL names it: `table public.notes`. With the id, the key of a baseline.
   */
  readonly object: string
  /** The consequence, in one sentence. */
  readonly meaning: string
  /** The SQL that fixes it, one statement a line; a comment (`-- …`) if no SQL can. */
  readonly fix: string
}

/** One check of a family: the common part of its findings. */
export interface Check {
  readonly level: FindingLevel
  readonly meaning: string
}

/** Checks on one part of the catalog, made by one query. */
export interface Family {
  readonly checks: Readonly<Record<string, Check>>
  /**
   * The query. Takes the input as its only parameter, returns {@link FindingRow}s, names resolve
   * in pg_catalog.
   */
  readonly text: string
  /**
   * Input keys that only this family and few others get, because they can be large.
   * @default none
   */
  readonly reads?: readonly string[]
}

/** One row of a family's query. */
export interface FindingRow {
  readonly id: string
  readonly object: string
  readonly fix: string
  /** The particulars of this finding, as the beginning of its sentence. */
  readonly says?: string | null
  /** The level, if it differs from the check's. */
  readonly level?: FindingLevel | null
  /** For checks of logins: the use of the login. */
  readonly use?: 'app' | 'tenantRoles' | 'global'
}

/**
 * Runs families of checks on one snapshot of the catalog.
 *
 * @param input sent to every family
 * @param more values by key, sent only to families that list the key in `reads`. The list of
 * tenants can be long.
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

/** Runs one family. The caller must be in {@link inCatalog}. */
export async function runFamily (client: SqlClient, { text }: Family, input: object): Promise<FindingRow[]> {
  const { rows } = await client.query<FindingRow & { readonly object: string | null }>(text, [
    JSON.stringify(input)
  ])
  // An object without a name was dropped while the query ran.
  return rows.filter(({ object }) => object !== null)
}

/**
 * Runs `work` in a read-only transaction in which every name resolves to the server's own objects.
 */
export async function inCatalog<T> (client: SqlClient, work: () => Promise<T>): Promise<T> {
  return inTransaction(client, async () => {
    // Without pg_temp at the end, PostgreSQL would search it first. A temporary table of an earlier
    // user of the connection could then pose as a catalog. The planner cannot estimate the checks'
    // large joins: JIT compilation takes longer than running them, and nested loops can be far too
    // slow. Without merge joins planning takes a third less time.
    await client.query(
      `set transaction isolation level repeatable read read only;
      set local search_path = pg_catalog, pg_temp; set local jit = off;
      set local enable_nestloop = off; set local enable_mergejoin = off;
      set local max_parallel_workers_per_gather = 0; set local work_mem = '64MB';
      set local lock_timeout = '5s'; set local statement_timeout = '1min'`
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
  return `(select named.type || ' ' || named.identity
    from pg_catalog.pg_identify_object('pg_catalog.${catalog}'::regclass, ${oid}, 0) named)`
}
