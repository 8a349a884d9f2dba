import { tenantConflict } from '@fastify-tenancy/core/errors'
import { sqlState, type SqlClient } from '@fastify-tenancy/postgres/client'
import { listTables, type ResolvedTables } from '@fastify-tenancy/postgres/tables'

import type { RowPlacement } from '../placement/tenant-placement.ts'
import { scanTables } from '../tenant-rows/scan.ts'
import { fromOf, readTables, rowsOf, type TransferTable } from '../tenant-rows/tables.ts'
import { namedTriggers, readTriggers } from '../tenant-rows/triggers.ts'
import { wholeProblem } from '../tenant-rows/whole.ts'

/** Rows deleted by one statement, which briefly locks each of them. */
const batch = 10_000

interface RemoveInput {
  readonly listed: ResolvedTables
  /** Called after each statement. */
  readonly onRemoved?: (table: string, rows: number) => void
}

/**
 * Removes a tenant's rows from the tables of a placement, children first.
 *
 * ```sql
 * delete from only "public"."tasks" t where t."tenant_id" = '7f3c…'::uuid
 *   and t.ctid = any(array(
 *     select t.ctid from only "public"."tasks" t where t."tenant_id" = '7f3c…'::uuid limit 10000))
 * ```
 *
 * @throws FST_TENANCY_TENANT_CONFLICT if rows of other tables still refer to them
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
        `rows of other tables still refer to the tenant's (${
          error instanceof Error ? error.message : ''
        }): remove them in a step of options.lifecycle.steps, then call again`
      )
    }
  }
  for (const table of tables) await assertGone(client, placement, tables, table)
}

// Checks that the rows are gone. A rule, or a trigger that only marks rows as deleted, makes a
// delete look successful.
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
    `rows of table '${table.name}' still exist after their deletion: ${
      triggers ?? 'a rule of the table, or another writer'
    } keeps them; disable it, then call again`
  )
}

/**
 * Returns the lists with global tables that have a tenant column as tenant tables, because their
 * rows of the tenant are removed, too.
 */
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
    // Circular references: PostgreSQL checks foreign keys at the end of the statement.
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
  // The tenant's condition is repeated, because in a partitioned table one ctid matches a row in
  // each partition.
  const statement = `delete from ${from} t where ${isMine} and t.ctid = any(array(` +
    `select t.ctid from ${from} t where ${isMine} limit ${batch}))`
  for (let rows = batch; rows >= batch;) {
    rows = (await client.query(statement)).rowCount ?? 0
    onRemoved(table.name, rows)
  }
}

/**
 * Returns tables in groups, those without referring tables first. Tables with circular references
 * form the last group.
 */
function childrenFirst<T extends Pick<TransferTable, 'name' | 'parents'>> (
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
