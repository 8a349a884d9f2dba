import { tenantConflict } from '@fastify-tenancy/core'
import { sqlState, type SqlClient } from '@fastify-tenancy/postgres/client'
import { listTables, type ResolvedTables } from '@fastify-tenancy/postgres/tables'

import type { RowPlacement } from '../placement/tenant-placement.ts'
import { scanTables } from '../tenant-rows/scan.ts'
import { fromOf, readTables, rowsOf, type TransferTable } from '../tenant-rows/tables.ts'
import { namedTriggers, readTriggers } from '../tenant-rows/triggers.ts'
import { wholeProblem } from '../tenant-rows/whole.ts'

/** Rows that one statement removes: a lock on each, held for a moment. */
const batch = 10_000

export interface RemoveInput {
  readonly listed: ResolvedTables
  /** Told after each statement. */
  readonly onRemoved?: (table: string, rows: number) => void
}

/**
 * Removes a tenant's rows from the tables of a home, children first.
 *
 * ```sql
 * delete from only "public"."tasks" t where t."tenant_id" = '7f3c…'::uuid
 *   and t.ctid = any(array(select t.ctid from only "public"."tasks" t where t."tenant_id" = '7f3c…'::uuid limit 10000))
 * ```
 *
 * @throws FST_TENANCY_TENANT_CONFLICT when rows of other tables still point at them
 */
export async function removeRows (
  client: SqlClient,
  placement: RowPlacement,
  { listed, onRemoved = () => {} }: RemoveInput
): Promise<void> {
  const tables = await readTables(client, placement, listed)
  const problem = await wholeProblem(client, placement, tables, false)
  if (problem !== undefined) throw tenantConflict(problem)
  for (const group of childrenFirst(tables)) {
    try {
      await removeGroup(client, placement, tables, group, onRemoved)
    } catch (error) {
      if (sqlState(error) !== '23503') throw error
      throw tenantConflict(
        `rows of other tables still point at the tenant's (${
          error instanceof Error ? error.message : ''
        }): remove those in a step of options.lifecycle.steps, then call again`
      )
    }
  }
  for (const table of tables) await assertGone(client, placement, tables, table)
}

// A trigger that marks rows instead, or a rule, would have it look as if they were gone.
async function assertGone (
  client: SqlClient,
  placement: RowPlacement,
  tables: readonly TransferTable[],
  table: TransferTable
): Promise<void> {
  const { rows: [left] } = await client.query(
    `select from ${fromOf(placement, table)} t where ${rowsOf(placement, tables, table)} limit 1`
  )
  if (left === undefined) return
  const triggers = namedTriggers(await readTriggers(client, placement, [table], 'delete'))
  throw tenantConflict(
    `rows of table '${table.name}' are still there after their deletion: ${
      triggers ?? 'a rule of the table, or another writer'
    } keeps them; disable it, then call again`
  )
}

/** The lists with the global tables that have a column for the tenant as tenant tables: what they say of it goes with it. */
export async function withGlobalTables (client: SqlClient, listed: ResolvedTables): Promise<ResolvedTables> {
  const { auto: _, ...tables } = await listTables(client, listed)
  const more = (await scanTables(client, listed)).filter(({ list }) => list === 'global')
  return {
    ...tables,
    tenant: { ...tables.tenant, ...Object.fromEntries(more.map(({ label, column }) => [label, column])) },
    global: tables.global.filter(name => !more.some(({ label }) => label === name))
  }
}

async function removeGroup (
  client: SqlClient,
  placement: RowPlacement,
  tables: readonly TransferTable[],
  group: readonly TransferTable[],
  onRemoved: (table: string, rows: number) => void
): Promise<void> {
  const [table, ...others] = group
  if (table === undefined) return
  const from = fromOf(placement, table)
  const isMine = rowsOf(placement, tables, table)
  if (others.length > 0 || table.parents.some(({ table: parent }) => parent === table.name)) {
    // They point at each other: keys are checked when the statement has ended.
    const deletes = group.map((each, index) =>
      `d${index} as (delete from ${fromOf(placement, each)} t where ${
        rowsOf(placement, tables, each)
      } returning 1)`
    )
    const counts = group.map((_, index) => `(select count(*) from d${index})::float8 as d${index}`)
    const { rows: [row] } = await client.query<Record<string, number>>(
      `with ${deletes.join(', ')} select ${counts.join(', ')}`
    )
    for (const [index, { name }] of group.entries()) onRemoved(name, row?.[`d${index}`] ?? 0)
    return
  }
  // The tenant's condition stands outside, too: in a partitioned table, one ctid is a row of each partition.
  const statement =
    `delete from ${from} t where ${isMine} and t.ctid = any(array(select t.ctid from ${from} t where ${isMine} limit ${batch}))`
  for (let rows = batch; rows >= batch;) {
    rows = (await client.query(statement)).rowCount ?? 0
    onRemoved(table.name, rows)
  }
}

/** The tables in groups, those that nothing points at first. The last is one of many where they point at each other in a ring. */
export function childrenFirst<T extends Pick<TransferTable, 'name' | 'parents'>> (
  tables: readonly T[]
): T[][] {
  const groups: T[][] = []
  let left = [...tables]
  while (left.length > 0) {
    const free = left.filter(({ name }) =>
      !left.some(other => other.name !== name && other.parents.some(({ table }) => table === name))
    )
    groups.push(...(free.length > 0 ? free.map(table => [table]) : [left]))
    left = free.length > 0 ? left.filter(table => !free.includes(table)) : []
  }
  return groups
}
