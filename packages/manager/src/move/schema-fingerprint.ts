import { createHash } from 'node:crypto'

import type { CopyEndpoint } from './copy-endpoints.ts'

// Data files of the tables, in the session's snapshot. A partition has a file; its partitioned
// table has none.
const files = `
  with recursive part as (
    select c.oid, c.relname, c.relfilenode
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = $1 and c.relname = any($2)
    union all
    select c.oid, c.relname, c.relfilenode
    from part
    join pg_catalog.pg_inherits i on i.inhparent = part.oid
    join pg_catalog.pg_class c on c.oid = i.inhrelid
  )
  select coalesce(json_agg(json_build_array(oid, relfilenode) order by oid), '[]')::text as files
  from part`

/**
 * Returns a hash of the definitions and data files of both placements' tables.
 *
 * Some changes fire no row trigger: a migration of both placements, `truncate` or attachment of a
 * partition, a changed column type. If the hash differs, the recorded changes are incomplete and
 * all rows are copied again.
 */
export async function schemaFingerprint (from: CopyEndpoint, to: CopyEndpoint): Promise<string> {
  const hash = createHash('sha256')
  for (const { client, placement, tables } of [from, to]) {
    const { rows: [row] } = await client.query<{ files: string }>(files, [placement.schema,
      tables.map(({ name }) => name)])
    hash.update(JSON.stringify(tables)).update(row?.files ?? '')
  }
  return hash.digest('hex')
}
