import { createHash } from 'node:crypto'

import type { CopyEndpoint } from './copy-endpoints.ts'

// As the session's snapshot has it. A partition has a file of its own, the table that it is part of has none.
const files = `
  with recursive part as (
    select c.oid, c.relname, c.relfilenode from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace where n.nspname = $1 and c.relname = any($2)
    union all
    select c.oid, c.relname, c.relfilenode from part join pg_catalog.pg_inherits i on i.inhparent = part.oid join pg_catalog.pg_class c on c.oid = i.inhrelid
  )
  select coalesce(json_agg(json_build_array(oid, relfilenode) order by oid), '[]')::text as files from part`

/**
 * What the tables of both homes are, down to the files that hold them. What changes a table as a whole fires no row trigger: a migration of both
 * homes, `truncate` of a partition, one that is attached, a type that is changed. After that, what was copied is compared no more, but copied again.
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
