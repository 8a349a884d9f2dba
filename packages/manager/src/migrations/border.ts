import { quoteName, quoteText, type SqlClient } from '@fastify-tenancy/postgres/client'

/** The code of {@link assertBorder}'s error; its detail has the oids of relations that were dropped. */
export const borderCode = 'TN410'

/** A statement on a path where no operator or function of the application's answers for the server's own. The path stays. */
export const asideFor = (text: string): string[] => ['set local search_path = pg_catalog, pg_temp', text]

/** SQL for what of a relation a migration could change without a row. Triggers of a foreign key, or of a tenant's move, are none of it. */
export const relationShape = (c: string): string =>
  `md5(concat_ws('|', ${c}.relname, ${c}.relnamespace, ${c}.relowner, ${c}.relrowsecurity, ${c}.relforcerowsecurity, ${c}.relacl, ${c}.reloptions, ${c}.relfilenode,
  (select string_agg(concat_ws(' ', attname, atttypid, atttypmod, attnotnull, attisdropped, attacl), ',' order by attnum) from pg_attribute where attrelid = ${c}.oid and attnum > 0),
  (select string_agg(conname, ',' order by oid) from pg_constraint where conrelid = ${c}.oid),
  (select string_agg(concat(tgname, tgenabled), ',' order by oid) from pg_trigger where tgrelid = ${c}.oid and not tgisinternal and tgname !~ '^tenancy_move_'),
  (select string_agg(polname, ',' order by oid) from pg_policy where polrelid = ${c}.oid),
  (select string_agg(indexrelid::text, ',' order by indexrelid) from pg_index where indrelid = ${c}.oid)))`

// The same with the rows that this transaction wrote there.
const touched = (c: string): string =>
  `${
    relationShape(c)
  } || pg_stat_get_xact_tuples_inserted(${c}.oid) || pg_stat_get_xact_tuples_updated(${c}.oid) || pg_stat_get_xact_tuples_deleted(${c}.oid)`

const heldKey = "concat(l.relation, ' ', l.mode)"
const ownLocks =
  "l.pid = pg_backend_pid() and l.locktype = 'relation' and l.database = (select oid from pg_database where datname = current_database()) and l.mode not in ('AccessShareLock', 'RowShareLock')"

/**
 * A statement that notes what {@link assertBorder} compares with, up to the end of the transaction: the relations of a schema, those that its foreign
 * keys lead to, the newest oid, and what the transaction has locked before: `migrate --check` runs the shared migrations in it, too.
 */
export function markBorder (schema: string): string {
  const own = `${quoteText(quoteName(schema))}::pg_catalog.regnamespace`
  return `
    select pg_catalog.set_config('tenancy.newest_oid', (select max(oid)::text from (select max(oid::bigint) as oid from pg_class union all select max(oid::bigint) from pg_extension) all_oids), true),
      pg_catalog.set_config('tenancy.own_relations', coalesce((
        select string_agg(concat_ws(',', c.oid, nullif(c.reltoastrelid, 0), (select string_agg(indexrelid::text, ',') from pg_index where indrelid = nullif(c.reltoastrelid, 0))), ',')
        from pg_class c where c.relnamespace = ${own}), ''), true),
      pg_catalog.set_config('tenancy.referenced', coalesce((
        select json_object_agg(p.oid, ${relationShape('p')})::text from pg_class p
        where p.relnamespace <> ${own} and p.oid in (select k.confrelid from pg_constraint k join pg_class t on t.oid = k.conrelid where k.contype = 'f' and t.relnamespace = ${own})), '{}'), true),
      pg_catalog.set_config('tenancy.held', coalesce((
        select json_object_agg(${heldKey}, coalesce(${
    touched('c')
  }, 'gone'))::text from pg_locks l left join pg_class c on c.oid = l.relation
        where ${ownLocks} and c.relnamespace is distinct from ${own}), '{}'), true)`
}

/**
 * A statement that fails where the transaction made, changed or dropped a relation outside a schema, wrote a row there, or made an extension. It asks
 * for the locks that the transaction holds: each of these takes one that is kept to the end.
 */
export function assertBorder (schema: string): string {
  const body = `
declare
  own oid := ${quoteText(quoteName(schema))}::pg_catalog.regnamespace;
  newest bigint := nullif(current_setting('tenancy.newest_oid', true), '')::bigint;
  found text;
  gone text;
begin
  -- The migration ended the transaction that it ran in: record_migration() says so.
  if newest is null then return; end if;
  select extname into found from pg_extension where oid::bigint > newest limit 1;
  if found is not null then
    raise exception using errcode = '${borderCode}', message = format(
      'an extension is of the whole database, and no tenant''s: take ''create extension %s'' out of the tenants'' migrations, and run it once, in a schema of its own (create schema extensions; create extension %1$s schema extensions)', found);
  end if;
  select string_agg(distinct format('%I.%I', n.nspname, c.relname), ', ') filter (where c.oid is not null), string_agg(distinct l.relation::text, ',') filter (where c.oid is null)
  into found, gone
  from pg_locks l left join pg_class c on c.oid = l.relation left join pg_namespace n on n.oid = c.relnamespace
  where ${ownLocks}
    and not coalesce(current_setting('tenancy.held')::json ->> ${heldKey} = coalesce(${
    touched('c')
  }, 'gone'), false)
    and case when c.oid is null then l.relation::bigint <= newest and l.relation::text <> all(string_to_array(current_setting('tenancy.own_relations'), ','))
      else c.relnamespace <> own and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast') and n.nspname !~ '^pg_(toast_)?temp_'
        -- What migrating itself writes: the ledger, its lock, and with an event trigger the note that the catalog changed.
        and not (n.nspname = 'tenancy' and c.relname like 'migration\\_ledger%') and n.nspname <> 'tenancy_ddl'
        and not (n.nspname = 'tenancy' and c.relname = 'locks' and l.mode = 'RowExclusiveLock')
        and not (c.relkind = 'S' and l.mode = 'RowExclusiveLock')
        and c.relkind not in ('i', 'I')
        -- A foreign key that comes or goes locks the table that it leads to.
        and not (l.mode in ('ShareRowExclusiveLock', 'AccessExclusiveLock') and coalesce(current_setting('tenancy.referenced')::json ->> c.oid::text = ${
    relationShape('c')
  }, false))
        and not (l.mode = 'ShareRowExclusiveLock' and exists (select from pg_constraint k join pg_class t on t.oid = k.conrelid where k.confrelid = c.oid and t.relnamespace = own)
          and not exists (select from pg_trigger where tgrelid = c.oid and not tgisinternal and oid::bigint > newest))
      end;
  if found is not null or gone is not null then
    raise exception using errcode = '${borderCode}', detail = coalesce(gone, ''), message = format('a tenant''s migration made, changed, dropped or wrote %s, outside the tenant''s schema %s', coalesce(found, 'a table'), ${
    quoteText(quoteName(schema))
  });
  end if;
end`
  return `do ${quoteText(body)}`
}

/** The error of {@link assertBorder} with the names of the relations that were dropped: they are there again, because the transaction was rolled back. */
export async function nameRelations (client: SqlClient, error: Error): Promise<Error> {
  const oids = 'detail' in error && typeof error.detail === 'string' && error.detail !== ''
    ? error.detail.split(',')
    : []
  const hint =
    "nothing of it was committed: name the tenant's own tables, or put this into the shared migrations"
  const { rows } = oids.length === 0 ? { rows: [] } : await client.query<{ name: string }>(
    `
    select pg_catalog.format('%I.%I', n.nspname, c.relname) as name from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where c.oid = any($1::oid[]) and c.relkind not in ('i', 'I') and n.nspname <> 'pg_toast' order by 1`,
    [oids]
  )
  const dropped = rows.length === 0 ? '' : ` (dropped: ${rows.map(({ name }) => name).join(', ')})`
  return Object.assign(new Error(`${error.message}${dropped}; ${hint}`, { cause: error }), {
    code: borderCode
  })
}
