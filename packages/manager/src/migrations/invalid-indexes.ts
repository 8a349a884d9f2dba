import type { SqlClient } from '@fastify-tenancy/postgres/client'

/** An index that no query uses, and that every write has to keep: what is left of a `create index concurrently` that was cut short. */
export interface InvalidIndex {
  readonly oid: string
  /** With its schema, quoted. */
  readonly name: string
  /** Its table, likewise. */
  readonly table: string
}

/** Those of one schema. An index that somebody builds just now is one, too. */
export async function invalidIndexes (client: SqlClient, schema: string): Promise<InvalidIndex[]> {
  const { rows } = await client.query<InvalidIndex>(
    `
    select i.indexrelid::text as oid, format('%I.%I', n.nspname, c.relname) as name, format('%I.%I', n.nspname, t.relname) as table
    from pg_catalog.pg_index i join pg_catalog.pg_class c on c.oid = i.indexrelid join pg_catalog.pg_class t on t.oid = i.indrelid
      join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where not i.indisvalid and c.relkind = 'i' and n.nspname = $1 order by 2`,
    [schema]
  )
  return rows
}

/**
 * Drops one, unless somebody is building it: who does holds a lock on its table.
 *
 * @throws the database's own error where it is not to be had now
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
