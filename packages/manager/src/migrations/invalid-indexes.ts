import type { SqlClient } from '@fastify-tenancy/postgres/client'

/**
 * An index that no query uses and every write maintains, left by an interrupted `create index
 * concurrently`.
 */
export interface InvalidIndex {
  readonly oid: string
  /** Qualified with its schema, and quoted. */
  readonly name: string
  /** Name of its table, qualified and quoted. */
  readonly table: string
}

/**
 * Returns the invalid indexes of one schema. An index that another session is building is one of
 * them.
 */
export async function invalidIndexes (client: SqlClient, schema: string): Promise<InvalidIndex[]> {
  const { rows } = await client.query<InvalidIndex>(
    `
    select i.indexrelid::text as oid, format('%I.%I', n.nspname, c.relname) as name,
      format('%I.%I', n.nspname, t.relname) as table
    from pg_catalog.pg_index i
      join pg_catalog.pg_class c on c.oid = i.indexrelid
      join pg_catalog.pg_class t on t.oid = i.indrelid
      join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where not i.indisvalid and c.relkind = 'i' and n.nspname = $1 order by 2`,
    [schema]
  )
  return rows
}

/**
 * Drops an invalid index, unless a session is building it, which holds a lock on its table.
 *
 * @throws PostgreSQL's error if the lock is not available
 */
export async function dropDead (client: SqlClient, { oid, name, table }: InvalidIndex): Promise<void> {
  await client.query(`begin; lock table only ${table} in share update exclusive mode nowait`)
  const { rows: [row] } = await client.query<{ dead: boolean }>(
    'select not indisvalid as dead from pg_catalog.pg_index where indexrelid = $1',
    [oid]
  )
  await client.query('commit')
  if (row?.dead === true) await client.query(`drop index concurrently ${name}`)
}
