// What a tenant's statement may leave in its session, through functions that the application made.
import { sql, type Kysely, type RawBuilder } from 'kysely'

import type { Provisioned, Rows } from '../../support/tenants.ts'

/** Makes the application's functions, and grants what a hostile statement needs. */
export async function prepareEffects (on: Provisioned): Promise<void> {
  await on.admin(`
    create extension if not exists pg_trgm;
    create extension if not exists dblink;
    create sequence drawn;
    create function run (command text) returns int language plpgsql as $$ begin execute command; return 1;
    end $$;
    create function run_and_fail (command text) returns int language plpgsql as $$ begin execute command;
    raise exception 'after' using errcode = 'P0042'; end $$;
    create function open_dblink (conninfo text) returns int language plpgsql security definer as $$ begin
      perform dblink_connect_u('left', conninfo); perform dblink_connect_u(conninfo); return 1; end $$;
    create function fill_names () returns int language plpgsql as $$ declare name text; begin
      for name in select p.name from pg_prepared_statements p loop
        execute format('deallocate %I', name);
        execute format('prepare %I as select 1::int as id, ''planted'' as body', name);
      end loop; return 1; end $$;
    create table parents (tenant_id text not null, id int not null, primary key (tenant_id, id));
    create table children (tenant_id text not null, id int not null, foreign key (tenant_id, id)
      references parents on delete cascade);
    create function on_child () returns trigger language plpgsql as $$ begin perform
      set_config('app.mark', 'left', false); return old; end $$;
    create trigger child after delete on children for each row execute function on_child();
    create table deferred (tenant_id text not null, n int not null);
    create function on_commit () returns trigger language plpgsql as $$ begin
      perform set_config('app.mark', 'left', false), pg_advisory_lock(7); execute 'listen left_behind';
      if new.n = 2 then raise exception 'at commit' using errcode = 'P0043'; end if; return new; end $$;
    create constraint trigger deferred after insert on deferred deferrable initially deferred for each row
      execute function on_commit()`)
}

export interface Effect {
  readonly name: string
  /** The attack cases that it plays. */
  readonly ids: string
  /** Runs as one statement. May fail: what it left must be gone all the same. */
  readonly statement: RawBuilder<unknown>
  /** The question that sees it, where that is not the row of all others. */
  readonly seenBy?: 'random' | 'link' | 'sequence'
  /** Whether the reset itself fails, so that the connection is closed. */
  readonly breaksReset?: true
  /** Whether it changes nothing for a superuser, as whom the control runs. */
  readonly isOfTenant?: true
}

const run = (command: string): RawBuilder<unknown> => sql`select run(${command}) as ran`
const fail = (command: string): RawBuilder<unknown> => sql`select run_and_fail(${command}) as ran`
const set = (name: string, value: string): RawBuilder<unknown> =>
  sql`select set_config(${name}, ${value}, false) as ran`

export function effects (on: Provisioned): Effect[] {
  return [
    {
      name: "prepared statements under the driver's names",
      ids: 'CON-01',
      statement: sql`select fill_names() as ran`
    },
    { name: 'a prepared statement', ids: 'CON-03', statement: run('prepare left_behind as select 1') },
    {
      name: 'a temporary table',
      ids: 'CON-02',
      statement: run('create temporary table notes_left as select 1 as a')
    },
    {
      name: 'a temporary table that shadows',
      ids: 'CON-02',
      statement: run('create temporary table notes (tenant_id text, id int, body text, n int)')
    },
    { name: 'a custom setting', ids: 'CON-03', statement: set('app.mark', 'left') },
    { name: 'a time zone', ids: 'CON-03', statement: set('TimeZone', 'Asia/Tokyo') },
    { name: 'a date style', ids: 'CON-03', statement: run("set datestyle = 'German, DMY'") },
    { name: 'a setting of an extension', ids: 'CON-03', statement: sql`select set_limit(0.9) as ran` },
    { name: 'a search path', ids: 'CON-03', statement: set('search_path', 'pg_temp, public') },
    {
      name: 'a plan mode',
      ids: 'CON-03',
      statement: run('set plan_cache_mode = force_generic_plan; set work_mem = 64; set enable_seqscan = off')
    },
    {
      name: 'read-only transactions',
      ids: 'CON-03',
      statement: run('set session characteristics as transaction read only, isolation level serializable')
    },
    { name: 'a role', ids: 'CON-03', isOfTenant: true, statement: run('set session role none') },
    { name: 'a LISTEN', ids: 'CON-03', statement: run('listen left_behind') },
    {
      name: 'a session lock',
      ids: 'CON-03',
      statement: run('select pg_advisory_lock(42), pg_advisory_lock_shared(43)')
    },
    { name: 'a seed', ids: 'CON-03', seenBy: 'random', statement: sql`select setseed(0.5)::text as ran` },
    {
      name: 'a value of a sequence',
      ids: 'CON-24',
      seenBy: 'sequence',
      statement: sql`select nextval('drawn') as ran`
    },
    {
      name: 'a cursor that outlives its transaction',
      ids: 'CON-03',
      statement: run("declare left_behind cursor with hold for select 'left'")
    },
    {
      name: 'connections of dblink',
      ids: 'CON-03',
      seenBy: 'link',
      statement: sql`select open_dblink(${on.superUrl}) as ran`
    },
    {
      name: 'a trigger that a cascade reaches',
      ids: 'CON-17',
      statement: sql`with x as (select 1) delete from parents`
    },
    {
      name: 'what a failed statement prepared, locked and seeded',
      ids: 'CON-04 CON-20',
      statement: fail(
        'prepare left_behind as select 1; select pg_advisory_lock(42), setseed(0.5); ' +
          'set app.mark = left; listen left_behind'
      )
    },
    {
      name: 'a deferred trigger that acts at commit',
      ids: 'CON-20',
      statement: sql`insert into deferred (n) values (1)`
    },
    {
      name: 'a deferred trigger that raises at commit',
      ids: 'CON-20',
      statement: sql`insert into deferred (n) values (2)`
    },
    {
      name: 'a timeout of 1 ms and 100 temporary tables',
      ids: 'CON-19',
      breaksReset: true,
      statement: run(
        "set statement_timeout = 1; do $do$ begin for i in 1..100 loop execute format('create " +
          "temporary table t%s (a int primary key)', i); end loop; end $do$"
      )
    }
  ]
}

/** Rows that the effects delete. */
export async function refill (db: Kysely<Rows>): Promise<void> {
  await sql`insert into parents (id) values (1) on conflict do nothing`.execute(db)
  await sql`insert into children (id) values (1)`.execute(db)
}
