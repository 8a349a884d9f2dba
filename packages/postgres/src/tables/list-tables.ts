import type { SqlClient } from '../client/sql-client.ts'
import type { ResolvedTables } from './table-lists.ts'
import { separateViews } from './views.ts'

/**
 * Returns the tables as the catalog has them now. `tables.tenant: 'auto'` becomes every table of
 * the schema that has the tenant column and is in no other list. A partition belongs to its
 * partitioned table. Listed views are moved to `views`.
 */
export async function listTables (client: SqlClient, tables: ResolvedTables): Promise<ResolvedTables> {
  const { auto, schema, shared, global, views } = tables
  if (auto === undefined) return separateViews(client, tables)
  const { rows } = await client.query<{ name: string }>(
    `
    select c.relname::text as name
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attname = $2 and a.attnum > 0
      and not a.attisdropped
    where n.nspname = $1 and c.relkind in ('r', 'p') and not c.relispartition and c.relname <> all($3)
      and not exists (select from pg_catalog.pg_depend
        where classid = 'pg_catalog.pg_class'::regclass and objid = c.oid and deptype = 'e')
    order by c.relname`,
    [schema, auto, [...shared, ...global, ...(views?.shared ?? []), ...(views?.global ?? [])]]
  )
  return separateViews(client, {
    ...tables,
    tenant: Object.fromEntries(rows.map(({ name }) => [name, auto]))
  })
}
