import { quoteName, type SqlClient } from '@fastify-tenancy/postgres/client'

import type { RowPlacement } from '../placement/tenant-placement.ts'
import type { Manifest, ManifestTable } from './manifest.ts'
import { fromOf, rowsOf, type TransferTable } from './tables.ts'

/** Why rows cannot go into tables by their form alone, in a sentence; undefined where they can. */
export function schemaMismatch (
  incoming: readonly Pick<ManifestTable, 'name' | 'columns'>[],
  tables: readonly TransferTable[],
  migration: Manifest['migration'] = null
): string | undefined {
  const hint = migration === null
    ? 'migrate one of the two first'
    : `migrate to '${migration}', or export again`
  for (const { name, columns } of incoming) {
    const table = tables.find(table => table.name === name)
    if (table === undefined)
      return `there is no table '${
        name.slice(0, 63)
      }' among the tenant tables that the rows are to go into: ${hint}`
    for (const { name: column, type } of columns) {
      const own = table.columns.find(({ name }) => name === column)
      if (own === undefined)
        return `table '${name}' has no column '${column.slice(0, 63)}' that tenants' rows may fill: ${hint}`
      if (own.type !== type)
        return `column '${column}' of table '${name}' is ${own.type} here, and was ${
          type.slice(0, 63)
        }: ${hint}`
    }
    const more = table.columns.find(({ name }) => !columns.some(column => column.name === name))
    if (more !== undefined) return `column '${more.name}' of table '${name}' was not there: ${hint}`
  }
  return undefined
}

/**
 * Why rows would meet those that are there, in a sentence; undefined where they cannot. In shared tables each key must have the tenant column,
 * or nobody may have a row: whether a value is taken by another tenant is not even asked.
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
      return `key '${key.name}' of table '${name}' does not have the tenant column, and the table has rows: such keys may meet those of another tenant, so import into empty tables, or make the key lead with the tenant column`
  }
  return undefined
}

/** How many rows of the tenant are there already, in these tables. */
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
