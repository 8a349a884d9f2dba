import type { SqlClient } from '../client/sql-client.ts'

/** The event trigger that lets each process notice a catalog change with its next statement. */
const catalogTrigger = 'tenancy_catalog'

// Without DROP: it removes what a statement could reach, and adds nothing.
const tags = [
  'ALTER AGGREGATE',
  'ALTER DOMAIN',
  'ALTER EXTENSION',
  'ALTER FUNCTION',
  'ALTER INDEX',
  'ALTER MATERIALIZED VIEW',
  'ALTER OPERATOR',
  'ALTER OPERATOR CLASS',
  'ALTER OPERATOR FAMILY',
  'ALTER POLICY',
  'ALTER PROCEDURE',
  'ALTER ROUTINE',
  'ALTER RULE',
  'ALTER SCHEMA',
  'ALTER STATISTICS',
  'ALTER TABLE',
  'ALTER TRIGGER',
  'ALTER TYPE',
  'ALTER VIEW',
  'CREATE AGGREGATE',
  'CREATE CAST',
  'CREATE DOMAIN',
  'CREATE EXTENSION',
  'CREATE FOREIGN TABLE',
  'CREATE FUNCTION',
  'CREATE INDEX',
  'CREATE MATERIALIZED VIEW',
  'CREATE OPERATOR',
  'CREATE OPERATOR CLASS',
  'CREATE OPERATOR FAMILY',
  'CREATE POLICY',
  'CREATE PROCEDURE',
  'CREATE RULE',
  'CREATE SCHEMA',
  'CREATE STATISTICS',
  'CREATE TABLE',
  'CREATE TABLE AS',
  'CREATE TRIGGER',
  'CREATE TYPE',
  'CREATE VIEW',
  'IMPORT FOREIGN SCHEMA',
  'SELECT INTO'
]

/*
 * A superuser owns all of this, in a schema of its own. Otherwise the owner of schema `tenancy`
 * could replace a function that runs as every superuser who changes a table.
 *
 * A transaction that changes the catalog inserts a row, so that two of them never wait for each
 * other while they work. The row's deferred trigger publishes a new epoch at commit, under a table
 * lock. If either fails, it only raises a warning: processes then reload the catalog within a
 * minute.
 *
 * The transaction's state is in a setting, not in a row. Reading a row would make otherwise
 * unrelated serializable transactions fail.
 *
 * A schema that the transaction itself created needs no new epoch, because no process has cached
 * its tables. So creating a tenant with its schema changes no epoch, unless its foreign keys reach
 * tables of other schemas.
 */
const text = `
create schema if not exists tenancy_ddl;
create unlogged table if not exists tenancy_ddl.changes (
  xid xid8 not null default pg_catalog.pg_current_xact_id()
);
create table if not exists tenancy_ddl.turn ();

create or replace function tenancy_ddl.note() returns event_trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  -- <transaction> <whether it needs a new epoch> <whether a row is queued> <schemas that it
  -- created>
  state text[] := string_to_array(current_setting('tenancy_ddl.state', true), ' ');
  command record;
  place oid;
  made oid[];
  news boolean;
  queues boolean;
begin
  if state[1] is distinct from pg_current_xact_id()::text then
    state := array[pg_current_xact_id()::text, 'f', 'f'];
  end if;
  news := state[2];
  made := state[4:];
  for command in select * from pg_event_trigger_ddl_commands() loop
    if command.command_tag = 'CREATE SCHEMA' then
      made := made || command.objid;
      continue;
    end if;
    continue when command.schema_name in ('pg_temp', 'tenancy', 'tenancy_ddl');
    place := case command.object_type
      when 'trigger' then (select relnamespace from pg_class join pg_trigger on tgrelid = pg_class.oid
        where pg_trigger.oid = command.objid)
      when 'policy' then (select relnamespace from pg_class join pg_policy on polrelid = pg_class.oid
        where pg_policy.oid = command.objid)
      when 'rule' then (select relnamespace from pg_class join pg_rewrite on ev_class = pg_class.oid
        where pg_rewrite.oid = command.objid)
      else to_regnamespace(quote_ident(command.schema_name)) end;
    news := news or (place = any (made || pg_my_temp_schema())) is not true;
  end loop;
  -- Publishing changes the catalog too, and must not queue another epoch.
  if news = state[2]::boolean and made = state[4:]::oid[] then return; end if;
  queues := state[3] = 'f';
  -- Before the insert, because with immediate constraints the row's trigger runs at once.
  perform set_config('tenancy_ddl.state',
    array_to_string(
      array[state[1], news::text, case when queues then 't' else state[3] end] || made::text[], ' '), true);
  if queues then insert into tenancy_ddl.changes default values; end if;
exception when others then
  raise warning
    'fastify-tenancy: processes notice this change of the catalog within a minute, not at once: %', sqlerrm;
end
$$;

create or replace function tenancy_ddl.publish() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '250ms'
as $$
declare
  state text[] := string_to_array(current_setting('tenancy_ddl.state', true), ' ');
  made oid[] := state[4:];
begin
  -- Replicated rows are not this server's changes.
  if state[1] is distinct from pg_current_xact_id()::text or new.xid <> pg_current_xact_id() then
    return null;
  end if;
  -- With immediate constraints, a later change of this transaction needs another epoch.
  perform set_config('tenancy_ddl.state',
    array_to_string(array[state[1], 'f', 'f'] || made::text[], ' '), true);
  if not state[2]::boolean
    and not exists (select from pg_constraint k join pg_class c on c.oid = conrelid
      join pg_class p on p.oid = confrelid
      where contype = 'f' and c.relnamespace = any (made) and p.relnamespace <> all (made)
        and (confdeltype in ('c', 'n', 'd') or confupdtype in ('c', 'n', 'd')))
    and not exists (select from pg_inherits join pg_class c on c.oid = inhrelid
      join pg_class p on p.oid = inhparent
      where c.relnamespace = any (made) and p.relnamespace <> all (made))
  then
    return null;
  end if;
  lock table tenancy_ddl.turn in exclusive mode;
  execute format(
    'create or replace function tenancy.current_catalog_epoch() returns text '
      || 'language sql stable parallel safe as %L',
    format('select %L::pg_catalog.text', gen_random_uuid()));
  -- Deletes also the committed rows of other transactions, which only READ COMMITTED sees.
  if current_setting('transaction_isolation') = 'read committed' then delete from tenancy_ddl.changes; end if;
  return null;
exception when others then
  raise warning
    'fastify-tenancy: processes notice this change of the catalog within a minute, not at once: %', sqlerrm;
  return null;
end
$$;

revoke all on function tenancy_ddl.note(), tenancy_ddl.publish() from public;`

/**
 * Creates the event trigger, if the login is a superuser. Idempotent.
 *
 * ```sql
 * create event trigger tenancy_catalog on ddl_command_end when tag in ('ALTER TABLE', …)
 * execute function tenancy_ddl.note()
 * ```
 *
 * @param client one connection, as the superuser
 */
export async function ensureCatalogEpoch (client: SqlClient): Promise<void> {
  await client.query(text)
  const { rows: [row] } = await client.query<{ trigger: string | null; rows: boolean }>(`
    select (select evtenabled::text from pg_catalog.pg_event_trigger
      where evtname = '${catalogTrigger}') as trigger,
      exists (select from pg_catalog.pg_trigger
        where tgrelid = pg_catalog.to_regclass('tenancy_ddl.changes') and tgname = 'publish') as rows`)
  if (row?.rows !== true) {
    // Enabled always, so that it also fires under session_replication_role = replica.
    await client.query(`
      create constraint trigger publish after insert on tenancy_ddl.changes
      deferrable initially deferred for each row execute function tenancy_ddl.publish();
      alter table tenancy_ddl.changes enable always trigger publish`)
  }
  if (row?.trigger === undefined || row.trigger === null) {
    await client.query(
      `create event trigger ${catalogTrigger} on ddl_command_end when tag in (${
        tags.map(tag => `'${tag}'`).join(', ')
      }) execute function tenancy_ddl.note()`
    )
  }
  if (row?.trigger !== 'A') await client.query(`alter event trigger ${catalogTrigger} enable always`)
  // Begins the first epoch, so that processes start to compare it.
  await client.query(`
    do $do$ begin
      if tenancy.current_catalog_epoch() = '' then
        execute format(
          'create or replace function tenancy.current_catalog_epoch() returns text '
            || 'language sql stable parallel safe as %L',
          format('select %L::pg_catalog.text', gen_random_uuid()));
      end if;
    end $do$`)
}
