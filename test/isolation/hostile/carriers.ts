// Where hostile code of the application may stand, and the statement of a tenant that makes it run.
import { sql, type Kysely } from 'kysely'

/** Runs whatever command stands in the table `armed`, from wherever it is called. */
export const objects = `
  create extension if not exists pg_trgm;
  create sequence drawn;
  create table armed (command text not null);
  insert into armed values ('select 1');
  create function act () returns int language plpgsql as $$
    begin execute (select command from public.armed); return 1; end $$;
  create function act_silently () returns int language plpgsql as $$
    begin begin execute (select command from public.armed); exception when others then null; end;
    return 1; end $$;
  create function act_and_fail () returns int language plpgsql as $$
    begin execute (select command from public.armed); raise exception 'after' using errcode = 'P0042'; end $$;
  create function run (command text) returns int language plpgsql as $$ begin execute command; return 1;
  end $$;
  create function fixed (int) returns int language plpgsql immutable as $$
    begin perform public.act_silently(); return $1; end $$;
  create function fire () returns trigger language plpgsql as $$
    begin perform public.act(); if tg_op = 'DELETE' then return old; end if; return new; end $$;
  create function fire_statement () returns trigger language plpgsql as $$ begin perform public.act();
  return null; end $$;

  create table by_row (tenant_id text not null, n int);
  create trigger fire before insert or update or delete on by_row for each row execute function fire();
  create table by_statement (tenant_id text not null, n int);
  create trigger fire after insert on by_statement for each statement execute function fire_statement();
  create table by_commit (tenant_id text not null, n int);
  create constraint trigger fire after insert on by_commit deferrable initially deferred for each row
    execute function fire();
  create table by_default (tenant_id text not null, n int default act());
  create table by_check (tenant_id text not null, n int check (act() = 1));
  create table by_generated (tenant_id text not null, n int, m int generated always as (fixed(n)) stored);
  create domain checked as int check (act() = 1);
  create table by_domain (tenant_id text not null, n checked);
  create table by_index (tenant_id text not null, n int);
  create index on by_index (fixed(n));
  create table by_predicate (tenant_id text not null, n int);
  create index on by_predicate (n) where fixed(n) > 0;
  create table by_rule (tenant_id text not null, n int);
  create rule fire as on insert to by_rule do also select act();
  create table by_partition (tenant_id text not null, n int) partition by list (n);
  create table by_partition_1 partition of by_partition for values in (1);
  create trigger fire before insert on by_partition_1 for each row execute function fire();
  create table by_child (tenant_id text not null, n int);
  create table by_child_1 () inherits (by_child);
  create trigger fire before update on by_child_1 for each row execute function fire();
  create table parents (tenant_id text not null, id int not null, primary key (tenant_id, id));
  create table cascaded (tenant_id text not null, id int, foreign key (tenant_id, id) references parents
    on delete cascade);
  create trigger fire before delete on cascaded for each row execute function fire();
  create table nulled (tenant_id text not null, id int, foreign key (tenant_id, id) references parents on
    delete set null (id));
  create trigger fire before update on nulled for each row execute function fire();
  create table by_policy (tenant_id text not null, n int);
  create table by_operator (tenant_id text not null, v varchar);
  create table by_name (tenant_id text not null, v varchar);
  create view by_view with (security_invoker) as select tenant_id, act() as n from by_row;

  create function same (varchar, varchar) returns bool language plpgsql as $$
    begin perform public.act_silently(); return $1::text = $2::text; end $$;
  create operator public.= (function = same, leftarg = varchar, rightarg = varchar);
  create function public.lower (varchar) returns text language plpgsql as $$
    begin perform public.act_silently(); return $1::text; end $$;
  create type wrapped as (v text);
  create function wrap (text) returns wrapped language plpgsql as $$
    begin perform public.act(); return row($1)::public.wrapped; end $$;
  create cast (text as wrapped) with function wrap (text);
  create function add_up (int, int) returns int language plpgsql as $$ begin perform public.act();
  return $1; end $$;
  create aggregate acting (int) (sfunc = add_up, stype = int, initcond = '0')`

/** What stands on tables only after they are protected. */
export const afterProtect = `
  create policy extra on by_policy as restrictive using (act() = 1) with check (act() = 1);
  grant select on by_view to public`

export const tenantTables: readonly string[] = [
  'by_row',
  'by_statement',
  'by_commit',
  'by_default',
  'by_check',
  'by_generated',
  'by_domain',
  'by_index',
  'by_predicate',
  'by_rule',
  'by_partition',
  'by_child',
  'parents',
  'cascaded',
  'nulled',
  'by_policy',
  'by_operator',
  'by_name'
]

type Db = Kysely<Record<string, Record<string, unknown>>>
type Run = (db: Db) => Promise<unknown>

const insert = (table: string, values: Record<string, unknown> = { n: 1 }): Run => db =>
  db.insertInto(table).values(values).execute()
const raw = (text: string): Run => db => sql.raw(text).execute(db)

/** Statements that run the armed command, most of them made by the query builder alone. */
export const carriers: Readonly<Record<string, Run>> = {
  'a function': raw('select act()'),
  'a function that fails afterwards': raw('select act_and_fail()'),
  'a bound text': async db => {
    const { rows: [row] } = await sql<{ command: string }>`select command from armed`.execute(db)
    await sql`select run(${row?.command})`.execute(db)
  },
  'a row trigger': insert('by_row'),
  'an update trigger': async db => {
    await insert('by_row')(db).catch(() => {})
    await db.updateTable('by_row').set({ n: 2 }).execute()
  },
  'a delete trigger': async db => {
    await insert('by_row')(db).catch(() => {})
    await db.deleteFrom('by_row').execute()
  },
  'a statement trigger': insert('by_statement'),
  'a deferred trigger': insert('by_commit'),
  'a default': raw('insert into by_default default values'),
  'a check': insert('by_check'),
  'a generated column': insert('by_generated'),
  // Not as a parameter: PostgreSQL 18.4 runs the check while it reads the parameter, and crashed
  // there now and then.
  'a domain': raw('insert into by_domain (n) select n from (values (1)) v (n)'),
  'an index': insert('by_index'),
  'a partial index': insert('by_predicate'),
  'a rule': insert('by_rule'),
  'a partition': insert('by_partition'),
  'a child table': db => db.updateTable('by_child').set({ n: 3 }).execute(),
  'a cascade': db => db.deleteFrom('parents').where('id', '=', 1).execute(),
  'a policy': insert('by_policy'),
  'a policy that is read': db => db.selectFrom('by_policy').selectAll().execute(),
  'a better matching operator': db =>
    db.selectFrom('by_operator').selectAll().whereRef('v', '=', 'v').execute(),
  'a better matching function': db =>
    db.selectFrom('by_name').select(({ fn }) => fn<string>('lower', ['v']).as('v')).execute(),
  'a view': raw('select n from by_view'),
  'a cast': raw("select 'x'::text::wrapped"),
  'an aggregate': raw('select acting(n) from by_name, (values (1)) v (n)'),
  'an expression in returning': raw("insert into by_name (v) values ('x') returning act()"),
  'an upsert': raw('insert into parents (id) values (1) on conflict (tenant_id, id) do update set id = act()')
}
