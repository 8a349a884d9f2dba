import { quoteName, quoteText, type SqlClient } from '@fastify-tenancy/postgres/client'
import { listTables, type ResolvedTables } from '@fastify-tenancy/postgres/tables'

/** A table that may contain rows of a tenant, in a column with tenant ids. */
interface ScannedTable {
  /** `projects`, or `legacy.projects` outside the schema of the listed tables. */
  readonly label: string
  /** `"public"."projects"` */
  readonly name: string
  readonly column: string
  readonly type: string
  /** The list of `options.tables` that contains it. */
  readonly list: 'tenant' | 'global' | undefined
}

// Columns with the options' names in every schema except PostgreSQL's, `tenancy` and those of
// tenants, whether listed or not.
const text = `
  select n.nspname::text as schema, c.relname::text as table,
    a.attname::text as column, t.typname::text as type
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
  join pg_catalog.pg_type t on t.oid = a.atttypid
  where c.relkind in ('r', 'p') and not c.relispartition and c.relpersistence <> 't'
    and n.nspname <> all('{pg_catalog,information_schema,tenancy}') and n.nspname not like 'pg\\_toast%'
    and coalesce(pg_catalog.obj_description(n.oid, 'pg_namespace'), '') not like 'fastify-tenancy: tenant %'
    and t.typname in ('text', 'varchar', 'uuid', 'int4', 'int8')
    and (a.attname = any($1) or (n.nspname = $2
      and (c.relname::text, a.attname::text) in (select * from unnest($3::text[], $4::text[]))))
  order by 1, 2, 3`

/**
 * Returns the tables of a database that have a column with tenant ids: the listed ones, and every
 * other table with a column of the same name.
 */
export async function scanTables (client: SqlClient, listed: ResolvedTables): Promise<ScannedTable[]> {
  const { schema, tenant, global } = await listTables(client, listed)
  // Only the tenants' own table has their ids in a column `id`.
  const names = new Set(['tenant_id', ...Object.values(tenant).filter(name => name !== 'id'),
    ...(listed.auto === undefined ? [] : [listed.auto])])
  const { rows } = await client.query<{ schema: string; table: string; column: string; type: string }>(text, [
    [...names],
    schema,
    Object.keys(tenant),
    Object.values(tenant)
  ])
  return rows.map(row => {
    const isHere = row.schema === schema
    return {
      label: isHere ? row.table : `${row.schema}.${row.table}`,
      name: `${quoteName(row.schema)}.${quoteName(row.table)}`,
      column: row.column,
      type: row.type,
      list: isHere && Object.hasOwn(tenant, row.table)
        ? 'tenant' as const
        : isHere && global.includes(row.table)
        ? 'global' as const
        : undefined
    }
  })
}

/** Returns the number of a tenant's rows in each table. Tables without rows are omitted. */
export async function countRows (
  client: SqlClient,
  tables: readonly ScannedTable[],
  id: string
): Promise<Record<string, number>> {
  const counts: Record<string, number> = {}
  for (const { label, name, column, type } of tables) {
    if (!mayHold(type, id)) continue
    const { rows: [row] } = await client.query<{ count: number }>(
      `select count(*)::float8 as count from ${name} where ${quoteName(column)} = ${quoteText(id)}`
    )
    const count = row?.count ?? 0
    if (count > 0) counts[label] = (counts[label] ?? 0) + count
  }
  return counts
}

// Comparing with a value that is invalid for the column's type would raise an error.
function mayHold (type: string, id: string): boolean {
  if (type === 'uuid') return /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(id)
  if (type === 'int4') return /^-?\d{1,10}$/.test(id) && Math.abs(Number(id)) < 2 ** 31
  if (type === 'int8') return /^-?\d{1,18}$/.test(id)
  return true
}
