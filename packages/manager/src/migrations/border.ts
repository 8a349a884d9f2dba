import { quoteName, quoteText, type SqlClient } from '@fastify-tenancy/postgres/client'

/**
 * SQLSTATE of {@link assertBorder}'s error. The error's detail has the oids of dropped relations.
 */
export const borderCode = 'TN410'

/**
 * Returns SQL that runs a statement with only the system catalog on the search path. Otherwise an
 * operator or function of the application could shadow the system's. The path stays set.
 */
export const asideFor = (text: string): string[] => ['set local search_path = pg_catalog, pg_temp', text]

/**
 * Returns SQL for a hash of everything that a migration can change of a relation except rows.
 * Triggers of foreign keys and of moves are excluded.
 */
export const relationShape = (c: string): string =>
  `md5(concat_ws('|', ${c}.relname, ${c}.relnamespace, ${c}.relowner,
  ${c}.relrowsecurity, ${c}.relforcerowsecurity, ${c}.relacl, ${c}.reloptions, ${c}.relfilenode,
  (
    select string_agg(
      concat_ws(' ', attname, atttypid, atttypmod, attnotnull, attisdropped, attacl), ',' order by attnum
    )
    from pg_attribute where attrelid = ${c}.oid and attnum > 0
  ),
  (select string_agg(conname, ',' order by oid) from pg_constraint where conrelid = ${c}.oid),
  (
    select string_agg(concat(tgname, tgenabled), ',' order by oid) from pg_trigger
    where tgrelid = ${c}.oid and not tgisinternal and tgname !~ '^tenancy_move_'
  ),
  (select string_agg(polname, ',' order by oid) from pg_policy where polrelid = ${c}.oid),
  (select string_agg(indexrelid::text, ',' order by indexrelid) from pg_index where indrelid = ${c}.oid)))`

// The shape, with the numbers of rows that this transaction wrote.
const touched = (c: string): string =>
  `${
    relationShape(c)
  } || pg_stat_get_xact_tuples_inserted(${c}.oid) || pg_stat_get_xact_tuples_updated(${c}.oid)
  || pg_stat_get_xact_tuples_deleted(${c}.oid)`

const heldKey = "concat(l.relation, ' ', l.mode)"
const ownLocks = `l.pid = pg_backend_pid() and l.locktype = 'relation'
  and l.database = (select oid from pg_database where datname = current_database())
  and l.mode not in ('AccessShareLock', 'RowShareLock')`

/**
 * Returns a statement that records, until the end of the transaction, the state that {@link
 * assertBorder} compares with. Recorded are the relations of the schema, relations that its foreign
 * keys refer to, the newest oid and the locks held so far. The locks are needed because `migrate
 * --check` runs the shared migrations in the same transaction.
 */
export function markBorder (schema: string): string {
  const own = `${quoteText(quoteName(schema))}::pg_catalog.regnamespace`
  return `
    select pg_catalog.set_config('tenancy.newest_oid', (
        select max(oid)::text from (
          select max(oid::bigint) as oid from pg_class
          union all select max(oid::bigint) from pg_extension
        ) all_oids
      ), true),
      pg_catalog.set_config('tenancy.own_relations', coalesce((
        select string_agg(concat_ws(',', c.oid, nullif(c.reltoastrelid, 0), (
          select string_agg(indexrelid::text, ',') from pg_index where indrelid = nullif(c.reltoastrelid, 0)
        )), ',')
        from pg_class c where c.relnamespace = ${own}), ''), true),
      pg_catalog.set_config('tenancy.referenced', coalesce((
        select json_object_agg(p.oid, ${relationShape('p')})::text from pg_class p
        where p.relnamespace <> ${own} and p.oid in (
          select k.confrelid from pg_constraint k join pg_class t on t.oid = k.conrelid
          where k.contype = 'f' and t.relnamespace = ${own})), '{}'), true),
      pg_catalog.set_config('tenancy.held', coalesce((
        select json_object_agg(${heldKey}, coalesce(${
    touched('c')
  }, 'gone'))::text from pg_locks l left join pg_class c on c.oid = l.relation
        where ${ownLocks} and c.relnamespace is distinct from ${own}), '{}'), true)`
}

/**
 * Returns a statement that fails if the transaction created, changed, dropped or wrote to a
 * relation outside a schema, or created an extension. It checks the transaction's locks, because
 * each of these actions takes a lock that is held to the end.
 */
export function assertBorder (schema: string): string {
  const body = `
declare
  own oid := ${quoteText(quoteName(schema))}::pg_catalog.regnamespace;
  newest bigint := nullif(current_setting('tenancy.newest_oid', true), '')::bigint;
  found text;
  gone text;
begin
  -- The migration ended its transaction, which record_migration() reports.
  if newest is null then return; end if;
  select extname into found from pg_extension where oid::bigint > newest limit 1;
  if found is not null then
    raise exception using errcode = '${borderCode}', message = format(
      'an extension belongs to the whole database, not to a tenant: remove ''create extension %s'' from '
      'the tenants'' migrations, and run it once, in a schema of its own '
      '(create schema extensions; create extension %1$s schema extensions)', found);
  end if;
  select string_agg(distinct format('%I.%I', n.nspname, c.relname), ', ') filter (where c.oid is not null),
    string_agg(distinct l.relation::text, ',') filter (where c.oid is null)
  into found, gone
  from pg_locks l
  left join pg_class c on c.oid = l.relation
  left join pg_namespace n on n.oid = c.relnamespace
  where ${ownLocks}
    and not coalesce(current_setting('tenancy.held')::json ->> ${heldKey} = coalesce(${
    touched('c')
  }, 'gone'), false)
    and case when c.oid is null then l.relation::bigint <= newest
        and l.relation::text <> all(string_to_array(current_setting('tenancy.own_relations'), ','))
      else c.relnamespace <> own and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')
        and n.nspname !~ '^pg_(toast_)?temp_'
        -- Written by the migration runner: the ledger, its lock, and the event trigger's note.
        and not (n.nspname = 'tenancy' and c.relname like 'migration\\_ledger%')
        and n.nspname <> 'tenancy_ddl'
        and not (n.nspname = 'tenancy' and c.relname = 'locks' and l.mode = 'RowExclusiveLock')
        and not (c.relkind = 'S' and l.mode = 'RowExclusiveLock')
        and c.relkind not in ('i', 'I')
        -- Creating or dropping a foreign key locks the table that it refers to.
        and not (l.mode in ('ShareRowExclusiveLock', 'AccessExclusiveLock')
          and coalesce(current_setting('tenancy.referenced')::json ->> c.oid::text = ${
    relationShape('c')
  }, false))
        and not (l.mode = 'ShareRowExclusiveLock' and exists (
            select from pg_constraint k join pg_class t on t.oid = k.conrelid
            where k.confrelid = c.oid and t.relnamespace = own)
          and not exists (
            select from pg_trigger where tgrelid = c.oid and not tgisinternal and oid::bigint > newest))
      end;
  if found is not null or gone is not null then
    raise exception using errcode = '${borderCode}', detail = coalesce(gone, ''), message = format(
      'a tenant''s migration created, changed, dropped or wrote %s, outside the tenant''s schema %s',
      coalesce(found, 'a table'), ${quoteText(quoteName(schema))});
  end if;
end`
  return `do ${quoteText(body)}`
}

/**
 * Returns {@link assertBorder}'s error with the names of dropped relations. The rollback has
 * restored them, so the catalog has their names.
 */
export async function nameRelations (client: SqlClient, error: Error): Promise<Error> {
  const oids = 'detail' in error && typeof error.detail === 'string' && error.detail !== ''
    ? error.detail.split(',')
    : []
  const hint =
    "nothing was committed: name the tenant's own tables, or move these statements to the shared migrations"
  const { rows } = oids.length === 0 ? { rows: [] } : await client.query<{ name: string }>(
    `
    select pg_catalog.format('%I.%I', n.nspname, c.relname) as name
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where c.oid = any($1::oid[]) and c.relkind not in ('i', 'I') and n.nspname <> 'pg_toast' order by 1`,
    [oids]
  )
  const dropped = rows.length === 0 ? '' : ` (dropped: ${rows.map(({ name }) => name).join(', ')})`
  return Object.assign(new Error(`${error.message}${dropped}; ${hint}`, { cause: error }), {
    code: borderCode
  })
}
