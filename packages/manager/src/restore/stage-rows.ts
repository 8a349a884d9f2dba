import { quoteName, quoteText, type SqlClient } from '@fastify-tenancy/postgres/client'

import { keyOf } from '../move/stage.ts'
import type { RowPlacement } from '../placement/tenant-placement.ts'
import { lineOf, linesOf } from '../tenant-rows/lines.ts'
import { batch, eachBatch } from '../tenant-rows/load.ts'
import { fromOf, rowsOf, type TransferTable } from '../tenant-rows/tables.ts'

/** A table of the tenant, and as `like` the same table with the columns and order of the export. */
export interface RestoredTable {
  readonly table: TransferTable
  readonly like: TransferTable
}

/** Number of added, changed and removed rows of one table. */
export interface TableChanges {
  readonly added: number
  readonly changed: number
  readonly removed: number
}

interface StageInput {
  readonly placement: RowPlacement
  readonly tables: readonly TransferTable[]
  readonly restored: readonly RestoredTable[]
  /** Returns the lines of a table in the export. */
  readonly linesOf: (table: TransferTable) => AsyncIterable<string>
  readonly onRows: (table: string, rows: number) => void
}

/**
 * Compares the export's rows with the current ones and writes differences into `pg_temp.changed`: a
 * row's key with its exported line, or without a line if the export lacks the row. A table without
 * a primary key is written as a whole if any row differs.
 *
 * ```sql
 * insert into pg_temp.changed (tab, key, line) select 'notes', key, was.line
 * from (…rows of the export…) was full join (…rows that are there…) here using (key)
 * where was.line is distinct from here.line
 * ```
 *
 * @returns the tables that differ
 */
export async function stageRows (
  client: SqlClient,
  { placement, tables, restored, linesOf: exported, onRows }: StageInput
): Promise<ReadonlyMap<string, TableChanges>> {
  await client.query(`
    create temporary table restored (line text not null) on commit drop;
    create temporary table changed (
      n int generated always as identity primary key, tab text not null, key text[], line text
    ) on commit drop`)
  const changes = new Map<string, TableChanges>()
  for (const both of restored) {
    await client.query('truncate pg_temp.restored')
    await eachBatch(exported(both.table), rows => onRows(both.table.name, rows), lines =>
      client.query(
        `insert into pg_temp.restored select line from ${batch} lines (line)`,
        [lines]
      ))
    await client.query('analyze pg_temp.restored')
    const found = keyOf(both.like).length > 0
      ? await compareByKey(client, placement, tables, both)
      : await compareAll(client, placement, tables, both)
    if (found !== undefined) changes.set(both.table.name, found)
  }
  return changes
}

async function compareByKey (
  client: SqlClient,
  placement: RowPlacement,
  tables: readonly TransferTable[],
  { table, like }: RestoredTable
): Promise<TableChanges | undefined> {
  const key = keyOf(like).map(({ name }) => `lines.line::json ->> ${quoteText(name)}`).join(', ')
  const here = `select ${lineOf(table, like)} as line from ${fromOf(placement, table)} t where ${
    rowsOf(placement, tables, table)
  }`
  const keyed = (source: string): string => `(select array[${key}] as key, line from ${source} lines)`
  const { rows: [row] } = await client.query<TableChanges>(`
    with found as (
      insert into pg_temp.changed (tab, key, line)
      select ${quoteText(table.name)}, key, was.line
      from ${keyed('pg_temp.restored')} was full join ${keyed(`(${here})`)} here using (key)
      where was.line is distinct from here.line
      returning key, line
    ), present as (
      select key from ${keyed(`(${here})`)} here
    )
    select count(*) filter (where present.key is null)::int as added,
      count(*) filter (where present.key is not null and line is not null)::int as changed,
      count(*) filter (where line is null)::int as removed
    from found left join present using (key)`)
  return row !== undefined && row.added + row.changed + row.removed > 0 ? row : undefined
}

async function compareAll (
  client: SqlClient,
  placement: RowPlacement,
  tables: readonly TransferTable[],
  { table, like }: RestoredTable
): Promise<TableChanges | undefined> {
  const here = `select line from (${linesOf(placement, tables, table, like)}) lines`
  const was = 'select line from pg_temp.restored'
  const { rows: [row] } = await client.query<{ added: number; removed: number }>(`
    select (select count(*)::int from (${was} except all ${here}) more) as added,
      (select count(*)::int from (${here} except all ${was}) less) as removed`)
  if (row === undefined || row.added + row.removed === 0) return undefined
  await client.query(
    `insert into pg_temp.changed (tab, line) select ${quoteText(table.name)}, line from pg_temp.restored`
  )
  return { ...row, changed: 0 }
}

/** Returns the qualified and quoted name of a table. */
export function stagedName ({ schema }: RowPlacement, { name }: TransferTable): string {
  return `${quoteName(schema)}.${quoteName(name)}`
}
