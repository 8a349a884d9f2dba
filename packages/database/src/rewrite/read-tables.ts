import type { SqlClient } from '@fastify-tenancy/postgres/client'
import type { ResolvedTables, TenantColumnType } from '@fastify-tenancy/postgres/tables'

import type { RowTables, RewrittenTable } from './tables.ts'

const types: Readonly<Record<string, TenantColumnType>> = {
  text: 'text',
  varchar: 'text',
  uuid: 'uuid',
  int4: 'int',
  int8: 'bigint'
}

/**
 * Returns the listed tables with the types of their tenant columns. A table that does not exist, or
 * whose column cannot hold an id, is left out and therefore refused.
 */
export async function readRowTables (
  client: SqlClient,
  { schema, tenant, shared }: ResolvedTables
): Promise<RowTables> {
  const { rows } = await client.query<{ name: string; column: string; type: string }>(
    `
    select c.relname::text as name, a.attname::text as column, t.typname::text as type
    from unnest($2::text[], $3::text[]) listed (table_name, column_name)
    join pg_catalog.pg_namespace n on n.nspname = $1
    join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = listed.table_name
      and c.relkind in ('r', 'p')
    join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attname = listed.column_name
      and a.attnum > 0 and not a.attisdropped
    join pg_catalog.pg_type t on t.oid = a.atttypid`,
    [schema, Object.keys(tenant), Object.values(tenant)]
  )
  const found = rows.flatMap(({ name, column, type }): [string, RewrittenTable][] => {
    const allowedProperties = types[type]
    return allowedProperties === undefined ? [] : [[name, { name, column, type: allowedProperties }]]
  })
  return { schema, tenant: new Map(found), shared: new Set(shared) }
}
