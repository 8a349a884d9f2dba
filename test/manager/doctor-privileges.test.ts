import t from 'tap'

import { runHoles } from './doctor-holes.ts'
import { doctorWorld, names } from './doctor-fixture.ts'

t.test('CLI-06 RLS-03 excess privileges of the application are found and fixed', async t => {
  await runHoles(t, [
    {
      name: 'public may read a tenant table',
      finds: ['D401 table public.notes'],
      plant: 'grant select on notes to public'
    },
    {
      name: 'the login itself may write one',
      finds: ['D401 table public.notes'],
      plant: 'grant insert on notes to {login}'
    },
    { name: 'TRUNCATE', finds: ['D402 table public.notes'], plant: 'grant truncate on notes to {app}' },
    {
      name: 'REFERENCES, and on one column',
      finds: ['D403 table public.notes', 'D403 table public.tasks'],
      plant: 'grant references on notes to public; grant references (id) on tasks to {app}'
    },
    { name: 'TRIGGER', finds: ['D404 table public.events'], plant: 'grant trigger on events to {app}' },
    {
      name: 'RLS-03 a new table without row-level security',
      finds: ['D405 table public.fresh'],
      plant: 'create table fresh (x int); grant select on fresh to {app}',
      after: 'drop table fresh'
    },
    {
      name: 'one column of a table that is in no list',
      finds: ['D405 table public.fresh'],
      plant: 'create table fresh (x int, y int); grant select (y) on fresh to public',
      after: 'drop table fresh'
    },
    {
      name: 'a table of another schema',
      finds: ['D405 table elsewhere.fresh'],
      plant: 'create schema elsewhere; create table elsewhere.fresh (x int); ' +
        'grant select on elsewhere.fresh to {login}',
      after: 'drop schema elsewhere cascade'
    },
    { name: 'a global table', finds: ['D405 table public.people'], plant: 'grant select on people to {app}' },
    {
      name: 'a shared table that one may write',
      finds: ['D406 table public.countries'],
      plant: 'grant update on countries to {shared}'
    },
    {
      name: 'partitions, at any depth',
      finds: ['D407 table public.events_1', 'D407 table public.events_2_2'],
      plant: 'grant select on events_1, events_2_2 to {app}'
    },
    {
      name: 'RLS-03 default privileges',
      finds: ['D408 default acl for role postgres in schema public on tables'],
      plant: 'alter default privileges in schema public grant select on tables to {app}'
    },
    {
      name: 'RLS-03 default privileges of every schema, for public',
      finds: ['D408 default acl for role {owner} on tables'],
      plant: 'alter default privileges for role {owner} grant insert on tables to public'
    },
    {
      name: 'default privileges of sequences',
      finds: ['D409 default acl for role postgres in schema public on sequences'],
      plant: 'alter default privileges in schema public grant select on sequences to {app}'
    },
    {
      name: 'a sequence that can be read',
      finds: ['D410 sequence public.tasks_id_seq'],
      plant: 'grant select on sequence tasks_id_seq to {app}'
    },
    {
      name: 'a sequence that can be set',
      finds: ['D410 sequence public.tasks_id_seq'],
      plant: 'grant update on sequence tasks_id_seq to public'
    },
    {
      name: 'INJ-11 the signing keys',
      finds: ['D411 table tenancy.signing_keys'],
      plant: 'grant select on tenancy.signing_keys to {app}'
    },
    {
      name: 'the registry',
      finds: ['D411 table tenancy.tenants'],
      plant: 'grant select (slug) on tenancy.tenants to {login}'
    },
    {
      name: 'the lockouts can be written',
      finds: ['D411 table tenancy.lockouts'],
      plant: 'grant delete on tenancy.lockouts to {app}'
    },
    {
      name: 'CREATE on a schema',
      finds: ['D413 schema public'],
      plant: 'grant create on schema public to public'
    },
    {
      name: 'CREATE on the database',
      finds: ['D414 database {database}'],
      plant: 'grant create on database {database} to {app}'
    }
  ])
})

t.test('CLI-06 findings that only --harden fixes are of level info, with that fix', async t => {
  const on = await doctorWorld(t, { rls: {} })
  const report = await on.manager.doctor({ probe: true })
  t.same(report.findings.map(({ id, level }) => `${level} ${id}`), ['info D415', 'info D416', 'info D417',
    'info D418', 'info D419', 'info D422', 'info D423', 'info D424', 'info P09'])
  for (const { fix } of report.findings.filter(({ fix }) => !fix.startsWith('--'))) await on.admin(fix)
  t.same(await on.found('info'), ['D416 options.rls.secret', rest(on)])
  const hardened = await doctorWorld(t)
  await hardened.manager.init({ url: hardened.superUrl, harden: true })
  t.same(await hardened.found('error', 'warning', 'info'), [rest(hardened)])
  t.same(
    names(await hardened.manager.doctor({ probe: true })),
    [rest(hardened)],
    'nor does the probe find a thing'
  )
})

/** Findings that no lack of privileges hides. */
function rest ({ superUrl }: { readonly superUrl: string }): string {
  return `D424 statistics of database ${new URL(superUrl).pathname.slice(1)}`
}
