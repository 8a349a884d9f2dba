import { quoteName, type SqlClient } from '@fastify-tenancy/postgres/client'

import type { RowPlacement } from '../placement/tenant-placement.ts'
import type { Manifest, ManifestTable } from './manifest.ts'
import { fromOf, rowsOf, type TransferTable } from './tables.ts'

/** Returns why rows cannot be inserted because the schemas differ, or undefined if they can. */
export function schemaMismatch (
  incoming: readonly Pick<ManifestTable, 'name' | 'columns'>[],
  tables: readonly TransferTable[],
  migration: Manifest['migration'] = null
): string | undefined {
  const hint = migration === null
    ? 'migrate both to the same version first'
    : `migrate to '${migration}', or export again`
  for (const { name, columns } of incoming) {
    const table = tables.find(table => table.name === name)
    if (table === undefined)
      return `the target has no tenant table '${name.slice(0, 63)}': ${
        tables.length === 0 ? 'make the tables there with options.migrations.tenant' : hint
      }`
    for (const { name: column, type } of columns) {
      const own = table.columns.find(({ name }) => name === column)
      if (own === undefined)
        return `the target's table '${name}' has no writable column '${column.slice(0, 63)}': ${hint}`
      if (own.type !== type)
        return `column '${column}' of table '${name}' is ${own.type} in the target, but ${
          type.slice(0, 63)
        } in the source: ${hint}`
    }
    const more = table.columns.find(({ name }) => !columns.some(column => column.name === name))
    if (more !== undefined)
      return `the target's table '${name}' has a column '${more.name}' that the source lacks: ${hint}`
  }
  return undefined
}

/**
 * Returns why rows may conflict with existing ones, or undefined if they cannot. In tenant tables,
 * each key must have the tenant column, or the table must be empty. Comparing values instead would
 * reveal other tenants' values.
 */
export async function keyProblem (
  client: SqlClient,
  placement: RowPlacement,
  incoming: readonly Pick<ManifestTable, 'name' | 'rows'>[],
  tables: readonly TransferTable[]
): Promise<string | undefined> {
  if (!placement.isShared) return undefined
  for (const { name, rows } of incoming) {
    const table = tables.find(table => table.name === name)
    if (table === undefined || rows === 0) continue
    const key = table.keys.find(({ columns }) =>
      table.tenantColumn === undefined || !columns.includes(table.tenantColumn.name)
    )
    if (key === undefined) continue
    const { rows: [any] } = await client.query(
      `select from ${quoteName(placement.schema)}.${quoteName(name)} limit 1`
    )
    if (any !== undefined)
      return `key '${key.name}' of table '${name}' does not have the tenant column, and the table has ` +
        'rows, so values may conflict with those of another tenant: import into empty tables, or add the ' +
        'tenant column to the key'
  }
  return undefined
}

/** Returns the number of the tenant's rows in these tables. */
export async function countTableRows (
  client: SqlClient,
  placement: RowPlacement,
  tables: readonly TransferTable[],
  names: readonly string[]
): Promise<number> {
  let count = 0
  for (const table of tables) {
    if (!names.includes(table.name)) continue
    const { rows: [row] } = await client.query<{ count: string }>(
      `select pg_catalog.count(*)::text as count from ${fromOf(placement, table)} t where ${
        rowsOf(placement, tables, table)
      }`
    )
    count += Number(row?.count ?? 0)
  }
  return count
}
