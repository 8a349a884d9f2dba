import t from 'tap'

import { runHoles } from './doctor-holes.ts'

const made = 'create function leak() returns setof notes language sql'

t.test('CLI-06 RLS-06 RLS-10 keys, views and functions that bypass policies are found and fixed', async t => {
  await runHoles(t, [
    {
      name: 'no index that the tenant column leads',
      finds: ['D121 table public.events'],
      plant: 'drop index events_tenant_id_idx'
    },
    {
      name: 'a unique index that serves only some rows',
      finds: ['D121 table public.events'],
      plant: 'drop index if exists events_tenant_id_idx1, events_tenant_id_idx; ' +
        'create index on events (tenant_id) where day > 1'
    },
    {
      name: 'a unique key without the tenant column',
      finds: ['D122 table constraint by_title on public.notes'],
      plant: 'alter table notes add constraint by_title unique (title)',
      after: 'alter table notes drop constraint by_title'
    },
    {
      name: 'a unique index without it',
      finds: ['D122 index public.by_title'],
      plant: 'create unique index by_title on notes (lower(title))',
      after: 'drop index by_title'
    },
    {
      name: 'an exclusion without it',
      finds: ['D122 table constraint apart on public.notes'],
      plant: 'create extension if not exists btree_gist; alter table notes add constraint apart exclude ' +
        'using gist (title with =)',
      after: 'alter table notes drop constraint apart'
    },
    {
      name: 'a key whose values the database makes',
      finds: ['D123 table constraint by_id on public.notes'],
      plant: 'alter table notes add constraint by_id unique (id)',
      after: 'alter table notes drop constraint by_id'
    },
    {
      name: 'RLS-10 a foreign key between tenant tables without it',
      finds: ['D124 table constraint to_note on public.tasks', 'D123 table constraint by_id on public.notes'],
      plant: 'alter table notes add constraint by_id unique (id); ' +
        'alter table tasks add constraint to_note foreign key (note_id) references notes (id)',
      after: 'alter table tasks drop constraint to_note; alter table notes drop constraint by_id'
    },
    {
      name: 'RLS-10 a foreign key that cascades',
      finds: ['D125 table constraint to_note on public.tasks', 'D123 table constraint by_id on public.notes'],
      plant: 'alter table notes add constraint by_id unique (id); ' +
        'alter table tasks add constraint to_note foreign key (note_id) references notes (id) ' +
        'on delete cascade',
      after: 'alter table tasks drop constraint to_note; alter table notes drop constraint by_id'
    },
    {
      name: 'the tenant column may be null',
      finds: ['D126 table column public.events.tenant_id'],
      plant: 'alter table events alter column tenant_id drop not null'
    },
    {
      name: 'a table with the tenant column that is in no list',
      finds: ['D127 table public.forgotten'],
      plant: 'create table forgotten (tenant_id uuid)',
      mend: 'drop table forgotten'
    },

    {
      name: 'RLS-06 a view that reads as its owner',
      finds: ['D201 view public.all_notes'],
      plant: 'create view all_notes as select * from notes; grant select on all_notes to {app}',
      after: 'drop view all_notes'
    },
    {
      name: 'RLS-06 a view over a view, granted to public',
      finds: ['D201 view public.outer_notes'],
      plant: 'create view inner_notes as select * from notes; create view outer_notes as select * ' +
        'from inner_notes; grant select on outer_notes to public',
      after: 'drop view inner_notes cascade'
    },
    {
      name: 'a view over tables of no list',
      finds: ['D201 view public.who'],
      plant: 'create view who as select * from people; grant select on who to {app}',
      after: 'drop view who'
    },
    {
      name: 'RLS-06 a materialized view',
      finds: ['D202 materialized view public.kept'],
      plant: 'create materialized view kept as select * from notes; grant select on kept to {app}',
      after: 'drop materialized view kept'
    },
    {
      name: 'RLS-06 a materialized view over a view, one of whose columns is open',
      finds: ['D202 materialized view public.kept'],
      plant: 'create view inner_notes as select * from notes; create materialized view kept as select * ' +
        'from inner_notes; grant select (title) on kept to {app}',
      after: 'drop view inner_notes cascade'
    },
    {
      name: 'a SECURITY DEFINER function of a superuser',
      finds: ['D203 function public.leak()'],
      plant:
        `${made} security definer set search_path = pg_catalog, public, pg_temp as 'select * from notes'`,
      after: 'drop function leak()'
    },
    {
      name: 'a SECURITY DEFINER function of the owner, with an unpinned search_path',
      finds: ['D203 function public.leak()', 'D206 function public.leak()'],
      plant: `${made} security definer as 'select * from notes'; alter function leak() owner to {owner}; ` +
        'revoke execute on function leak() from public; grant execute on function leak() to {app}',
      after: 'drop function leak()'
    },
    {
      name: 'a SECURITY DEFINER function of an owner whom policies bind',
      finds: ['D204 function public.harmless()'],
      plant: 'create role plain{suffix}; create function harmless() returns int ' +
        "language sql security definer set search_path = pg_catalog as 'select 1'; " +
        'alter function harmless() owner to plain{suffix}',
      after: 'drop function harmless(); drop role plain{suffix}'
    },
    {
      name: 'a trigger whose function is SECURITY DEFINER',
      finds: ['D205 trigger fire on public.notes', 'D206 function public.fire()'],
      plant:
        "create function fire() returns trigger language plpgsql security definer as 'begin return new; " +
        "end'; create trigger fire before insert on notes for each row execute function fire()",
      after: 'drop function fire() cascade'
    },
    {
      name: 'an IMMUTABLE function over the setting',
      finds: ['D207 function public.who_am_i()'],
      plant: 'create function who_am_i() returns text ' +
        "language sql immutable as 'select current_setting(''tenancy.tenant'', true)'",
      after: 'drop function who_am_i()'
    },
    {
      name: 'an IMMUTABLE function over the setting, with a body of SQL',
      finds: ['D207 function public.who_am_i()'],
      plant:
        "create function who_am_i() returns text immutable return current_setting('tenancy.tenant', true)",
      after: 'drop function who_am_i()'
    },
    {
      name: 'an IMMUTABLE function over nothing is none',
      finds: [],
      plant: "create function twice(n int) returns int language sql immutable as 'select n * 2'",
      mend: 'drop function twice(int)'
    },
    {
      name: 'a policy that calls a function for each row',
      finds: ['D109 policy tenancy_tenant on public.notes', 'D208 policy tenancy_tenant on public.notes'],
      plant: 'alter policy tenancy_tenant on notes using (tenant_id = tenancy.verified_tenant()::uuid)',
      mend: 'drop policy tenancy_tenant on notes; create policy tenancy_tenant on notes to {app} ' +
        'using ("tenant_id" = nullif(pg_catalog.current_setting(\'tenancy.tenant\', true), ' +
        '\'\')::pg_catalog.uuid and "tenant_id" operator(tenancy.===) (select ' +
        'tenancy.verified_tenant()::pg_catalog.uuid)) ' +
        'with check ("tenant_id" = nullif(pg_catalog.current_setting(\'tenancy.tenant\', true), ' +
        '\'\')::pg_catalog.uuid and "tenant_id" operator(tenancy.===) (select ' +
        'tenancy.verified_tenant()::pg_catalog.uuid))'
    },
    {
      name: 'a LEAKPROOF function',
      finds: ['D209 function public.peek(pg_catalog.text)'],
      plant: 'create function peek(text) returns bool language plpgsql leakproof stable as ' +
        "'begin return true; end'",
      after: 'drop function peek(text)'
    },
    {
      name: 'a foreign table',
      finds: ['D210 foreign table public.far'],
      plant: 'create foreign data wrapper nowhere; create server nowhere foreign data wrapper nowhere; ' +
        'create foreign table far (x int) server nowhere; grant select on far to {app}',
      after: 'drop foreign data wrapper nowhere cascade'
    },
    {
      name: 'a rule on a tenant table',
      finds: ['D211 rule copy on public.notes'],
      plant: 'create table copies (id int, title text); create rule copy as on insert to notes do also ' +
        'insert into copies select id, title from notes',
      after: 'drop table copies'
    },
    {
      name: 'no event trigger',
      finds: ['D605 database {database}'],
      plant: 'alter event trigger tenancy_catalog disable',
      mend: 'alter event trigger tenancy_catalog enable always'
    },
    {
      name: 'a publication of all tables',
      finds: ['D602 publication everything'],
      plant: 'create publication everything for all tables'
    }
  ])
})
