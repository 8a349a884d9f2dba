import type { TenantRecord } from '@fastify-tenancy/core'
import { isDatabaseMissing } from '@fastify-tenancy/postgres/client'

import type { ManagerContext } from '../context/context.ts'
import { withClient } from '../context/shard-pools.ts'
import { withPlacement } from '../placement/tenant-placement.ts'
import { countRows, scanTables } from './scan.ts'
import { fromOf, readTables, rowsOf } from './tables.ts'

/**
 * Returns a tenant's row counts by table: its own tables, and every table on any shard with a
 * tenant column.
 */
export async function countTenant (
  context: ManagerContext,
  tenant: TenantRecord
): Promise<Record<string, number>> {
  const own = await withPlacement(context, tenant, placement =>
    withClient(placement.pool, async client => {
      const tables = await readTables(client, placement, context.options.tables)
      const counts: Record<string, number> = {}
      for (const table of tables) {
        const { rows: [row] } = await client.query<{ count: number }>(
          `select count(*)::float8 as count from ${fromOf(placement, table)} t where ${
            rowsOf(placement, tables, table)
          }`
        )
        if (row !== undefined && row.count > 0) counts[table.name] = row.count
      }
      return counts
    })).catch((error: unknown) => {
      // The tenant's database was never created or was dropped.
      if (isDatabaseMissing(error)) return {}
      throw error
    })
  return { ...await countByColumn(context, tenant), ...own }
}

/**
 * Returns a tenant's row counts in every table with a tenant column, listed or not, on every shard:
 * `{ projects: 3, 'eu:projects': 1 }`.
 */
export async function countByColumn (
  { options, shards }: ManagerContext,
  { id }: Pick<TenantRecord, 'id'>
): Promise<Record<string, number>> {
  const all: Record<string, number> = {}
  for (const shard of shards.names) {
    const counts = await withClient(
      shards.get(shard),
      async client => countRows(client, await scanTables(client, options.tables), id)
    )
    for (const [table, count] of Object.entries(counts))
      all[shard === 'default' ? table : `${shard}:${table}`] = count
  }
  return all
}
