import { inTransaction, quoteName, type SqlClient } from '@fastify-tenancy/postgres/client'
import { assertNoDependents, readDependentsOf, refuseDependents } from '@fastify-tenancy/postgres/placement'

// Partitions precede their partitioned table, so that one statement never drops a whole tree. Views
// come first, because they depend on tables. Each dropped object takes a lock: the relation, its
// types, indexes, TOAST, constraints and their triggers.
const relations = `
  with recursive part (oid, depth) as (
    select c.oid, 0 from pg_class c
    where c.relnamespace = $1::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
      and not exists (select from pg_inherits where inhrelid = c.oid)
    union all
    select i.inhrelid, part.depth + 1 from part join pg_inherits i on i.inhparent = part.oid
  )
  select c.oid::text, c.relname::text as name, c.relkind::text as kind,
    pg_has_role(current_user, c.relowner, 'usage') as lockable,
    (6 + 2 * (select count(*) from pg_index where indrelid = c.oid)
      + 3 * (select count(*) from pg_depend
        where refclassid = 'pg_class'::regclass and refobjid = c.oid))::int as locks,
    pg_catalog.current_setting('max_locks_per_transaction')::int as room
  from part join pg_class c on c.oid = part.oid and c.relnamespace = $1::regnamespace
  where c.relkind <> 'S' or not exists (
    select from pg_depend
    where classid = 'pg_class'::regclass and objid = c.oid and deptype in ('a', 'i')
  )
  group by c.oid, c.relname, c.relkind, c.relowner
  order by c.relkind not in ('v', 'm'), max(part.depth) desc, c.oid`

interface Relation {
  readonly oid: string
  readonly name: string
  readonly kind: 'r' | 'p' | 'v' | 'm' | 'f' | 'S'
  /**
   * Whether the login may lock it by name. The schema's owner can drop a superuser's table in the
   * schema, but not lock it.
   */
  readonly lockable: boolean
  /** Most locks that dropping it takes. */
  readonly locks: number
  /** Number of locks that the server guarantees to one transaction. */
  readonly room: number
}

const kinds = {
  r: 'table',
  p: 'table',
  f: 'foreign table',
  v: 'view',
  m: 'materialized view',
  S: 'sequence'
} as const

/**
 * Drops a schema with its contents and nothing else: relations in chunks, each in a transaction
 * whose locks fit `max_locks_per_transaction`, then the rest. Idempotent; the next call resumes an
 * interrupted drop.
 *
 * ```sql
 * begin; lock table "tenant_7f3c"."notes" in access exclusive mode; -- then the look at pg_depend
 * drop table "tenant_7f3c"."notes" cascade; commit;
 * drop schema if exists "tenant_7f3c" cascade
 * ```
 *
 * @param onDropped called with the number of relations dropped so far
 * @throws FST_TENANCY_TENANT_CONFLICT with the names of dependent objects outside the schema,
 *   before anything is dropped
 */
export async function dropSchemaObjects (
  client: SqlClient,
  schema: string,
  onDropped: (count: number) => void = () => {}
): Promise<void> {
  const { rows: [found] } = await client.query('select from pg_catalog.pg_namespace where nspname = $1', [
    schema
  ])
  if (found === undefined) return
  await assertNoDependents(client, schema)
  for (let dropped = 0;;) {
    const { rows } = await client.query<Relation>(relations, [quoteName(schema)])
    if (rows.length === 0) break
    for (const chunk of chunks(rows)) {
      await inTransaction(client, () => dropRelations(client, schema, chunk))
      dropped += chunk.length
      onDropped(dropped)
    }
  }
  await inTransaction(client, async () => {
    await assertNoDependents(client, schema)
    await client.query(`drop schema if exists ${quoteName(schema)} cascade`)
  })
}

/**
 * Splits relations, in order, into chunks whose locks fit one transaction. A chunk has at least one
 * relation.
 */
function chunks (all: readonly Relation[]): Relation[][] {
  const done: Relation[][] = []
  let taken = Infinity
  for (const relation of all) {
    if (taken + relation.locks > relation.room) {
      done.push([])
      taken = 0
    }
    done.at(-1)?.push(relation)
    taken += relation.locks
  }
  return done
}

async function dropRelations (
  client: SqlClient,
  schema: string,
  relations: readonly Relation[]
): Promise<void> {
  const name = ({ name }: Relation): string => `${quoteName(schema)}.${quoteName(name)}`
  // After the lock, no session can create a view or foreign key on the relation. So the following
  // check still holds at the drop.
  for (const relation of relations.filter(({ kind, lockable }) => lockable && ['r', 'p', 'v'].includes(kind)))
    await client.query(`lock table ${name(relation)} in access exclusive mode`)
  refuseDependents(schema, await readDependentsOf(client, schema, relations.map(({ oid }) => oid)))
  for (const relation of relations)
    await client.query(`drop ${kinds[relation.kind]} if exists ${name(relation)} cascade`)
}
