import { quoteName, type SqlClient } from '@fastify-tenancy/postgres/client'

import { schemaMismatch } from '../tenant-rows/fit.ts'
import type { TransferTable } from '../tenant-rows/tables.ts'
import type { CopyEndpoint } from './copy-endpoints.ts'
import { keyOf } from './stage.ts'

type Tables = Pick<CopyEndpoint, 'placement' | 'tables'>

/**
 * Returns why the rows cannot be copied because the two schemas differ, or undefined if they can.
 * Types in a placement's own schema are compared by their unqualified names.
 */
export function moveObstacle (from: Tables, to: Tables): string | undefined {
  const schemas = [from, to].flatMap(({ placement: { schema } }) => [`${schema}.`, `${quoteName(schema)}.`])
  const bare = ({ tables }: Tables): TransferTable[] =>
    tables.map(table => ({
      ...table,
      columns: table.columns.map(column => ({
        ...column,
        type: column.type.slice(schemas.find(schema => column.type.startsWith(schema))?.length ?? 0)
      }))
    }))
  return schemaMismatch(bare(from), bare(to))
}

/**
 * Returns why changes of a served tenant cannot be applied in the target, or undefined if they can.
 */
export async function catchUpObstacle (
  client: SqlClient,
  { tables: from }: Pick<Tables, 'tables'>,
  { placement, tables: to }: Tables
): Promise<string | undefined> {
  const { rows: late } = await client.query<{ name: string }>(
    `
    select c.relname::text as name
    from pg_catalog.pg_constraint k
    join pg_catalog.pg_class c on c.oid = k.conrelid
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = $1 and k.contype = 'p' and k.condeferrable`,
    [placement.schema]
  )
  for (const table of to.filter(({ isActedOn }) => isActedOn)) {
    const source = from.find(({ name }) => name === table.name)
    if (source === undefined || keyOf(source).length === 0) continue
    // Rows of such a table are updated in place and found by the target's primary key.
    if (source.order.toSorted().join() !== table.order.toSorted().join()) {
      return `the primary key of table '${table.name}' is (${table.order.join(', ')}) in the target, and (${
        source.order.join(', ')
      }) in the source, and rows that refer to it have 'on delete': give both tables the same key`
    }
    if (late.some(({ name }) => name === table.name)) {
      return `the primary key of table '${table.name}' is deferrable in the target, and rows that ` +
        "refer to it have 'on delete'. 'on conflict' rejects such a key: make it not deferrable"
    }
  }
  return undefined
}
