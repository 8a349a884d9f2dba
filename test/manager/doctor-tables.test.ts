import { createManager } from '@fastify-tenancy/manager'
import t from 'tap'

import { runHoles } from './doctor-holes.ts'
import { doctorWorld, tables } from './doctor-fixture.ts'

const setting = "nullif(current_setting('tenancy.tenant', true), '')::uuid"

const observed = 'create role old{suffix}; alter table notes no force row level security; ' +
  'create policy tenancy_legacy on notes to old{suffix} using (true) with check (true)'
const unobserved =
  'drop policy tenancy_legacy on notes; alter table notes force row level security; drop role old{suffix}'

t.test("CLI-06 RLS-03 RLS-04 RLS-05 every way to lose a table's policy is found and fixed", async t => {
  await runHoles(t, [
    {
      name: 'row-level security is off, and the policies are there',
      finds: ['D104 table public.notes'],
      plant: 'alter table notes disable row level security'
    },
    {
      name: 'row-level security is off, without a policy',
      finds: ['D101 table public.notes'],
      plant: 'drop policy tenancy_tenant on notes; drop policy tenancy_system on notes; ' +
        'alter table notes disable row level security'
    },
    {
      name: 'RLS-04 row-level security is not forced',
      finds: ['D102 table public.steps'],
      plant: 'alter table steps no force row level security'
    },
    {
      name: 'there is no policy at all',
      finds: ['D103 table public.tasks'],
      plant: 'drop policy tenancy_tenant on tasks; drop policy tenancy_system on tasks'
    },
    {
      name: "the tenants' policy is gone",
      finds: ['D103 table public.steps'],
      plant: 'drop policy tenancy_tenant on steps'
    },
    {
      name: 'the policy of the owner is gone',
      finds: ['D110 table public.notes'],
      plant: 'drop policy tenancy_system on notes'
    },
    {
      name: 'RLS-05 a second permissive policy lets all rows through',
      finds: ['D105 policy everything on public.notes'],
      plant: 'create policy everything on notes using (true)'
    },
    {
      name: 'RLS-05 a second permissive policy for reading alone',
      finds: ['D105 policy reading on public.events'],
      plant: 'create policy reading on events for select to {app} using (true)'
    },
    {
      name: 'our own second policy, opened for public',
      finds: ['D105 policy tenancy_system on public.notes'],
      plant: 'alter policy tenancy_system on notes to public'
    },
    {
      name: 'our own second policy, opened for the application',
      finds: ['D105 policy tenancy_system on public.notes'],
      plant: 'alter policy tenancy_system on notes to {owner}, {system}, {app}'
    },
    {
      name: 'a policy that does not ask for the tenant',
      finds: ['D106 policy by_title on public.notes'],
      plant: "create policy by_title on notes for select using (title = 'public')"
    },
    {
      name: 'a policy that asks for nothing but the user',
      finds: ['D106 policy by_user on public.notes'],
      plant: "create policy by_user on notes for select using (current_user = '{app}')"
    },
    {
      name: 'a second permissive policy that does ask',
      finds: ['D107 policy again on public.notes'],
      plant: `create policy again on notes for select using (tenant_id = ${setting})`
    },
    {
      name: 'a bypass by a setting',
      finds: ['D107 policy bypass on public.notes'],
      plant: 'create policy bypass on notes for select ' +
        "using (tenant_id is null or current_setting('app.bypass', true) = 'on')"
    },
    {
      name: 'rows are written unchecked',
      finds: ['D108 policy writing on public.notes'],
      plant: 'create policy writing on notes for insert with check (true)'
    },
    {
      name: 'rows are inserted without a check at all',
      finds: ['D108 policy writing on public.notes'],
      plant: 'create policy writing on notes for insert to {app}'
    },
    {
      name: 'our own policy reads its own rows and writes any',
      finds: ['D108 policy tenancy_tenant on public.notes'],
      plant: 'alter policy tenancy_tenant on notes with check (true)'
    },
    {
      name: 'our own policy without the signature',
      finds: ['D109 policy tenancy_tenant on public.notes'],
      plant: `alter policy tenancy_tenant on notes using (tenant_id = ${setting}) ` +
        `with check (tenant_id = ${setting})`
    },
    {
      name: 'our own policy with an OR in it',
      finds: ['D109 policy tenancy_tenant on public.events'],
      plant: `alter policy tenancy_tenant on events using (tenant_id = ${setting} or tenant_id is null)`
    },
    {
      name: 'our own policy for public',
      finds: ['D109 policy tenancy_tenant on public.notes'],
      plant: 'alter policy tenancy_tenant on notes to public'
    },
    {
      name: 'a policy by the foreign key asks for another column',
      finds: ['D109 policy tenancy_tenant on public.steps'],
      plant: 'alter policy tenancy_tenant on steps using (exists (select from tasks parent ' +
        'where parent.id = steps.task_id))'
    },
    {
      name: 'our own policy with nothing in it',
      finds: ['D105 policy tenancy_tenant on public.notes'],
      plant: 'alter policy tenancy_tenant on notes using (true)'
    },
    {
      name: 'a table under observation, whose old code has time left',
      finds: ['D114 table public.notes'],
      plant: `${observed}; comment on policy tenancy_legacy on notes is '{"old": "9999-12-31"}'`,
      mend: unobserved
    },
    {
      name: 'a table under observation whose last day is over',
      finds: ['D114 table public.notes'],
      plant: `${observed}; comment on policy tenancy_legacy on notes is '{"old": "2020-12-31"}'`,
      mend: unobserved
    },
    {
      name: 'a policy that only looks like one of observation',
      finds: ['D102 table public.notes', 'D105 policy tenancy_legacy on public.notes'],
      plant:
        'alter table notes no force row level security; create policy tenancy_legacy on notes to {app} ' +
        'using (true)'
    },
    {
      name: 'a restrictive policy',
      finds: ['D111 policy narrow on public.notes'],
      plant: 'create policy narrow on notes as restrictive using (title is not null)'
    },
    {
      name: 'a table that is owned by a superuser, and not under row-level security',
      finds: ['D104 table public.events'],
      plant: 'alter table events owner to postgres; alter table events disable row level security',
      after: 'alter table events owner to {owner}'
    }
  ])
})

const make = (type: string): string =>
  `create table typed_${type} ("Tenant Id" ${type} not null, id int, primary key ("Tenant Id", id)); ` +
  `create index on typed_${type} ("Tenant Id")`

t.test('the policy is compared with the mode and with the type of the column', async t => {
  const types = ['text', 'uuid', 'int', 'bigint']
  const typed = Object.fromEntries(types.map(type => [`typed_${type}`, 'Tenant Id']))
  for (const rls of [{}, { context: 'role' }] as const) {
    await t.test(JSON.stringify(rls), async t => {
      const on = await doctorWorld(t, { rls, tables: { ...tables, tenant: {} } })
      await on.admin(types.map(make).join(';'))
      await on.admin(
        'create table parent (x text not null, y int not null, primary key (x, y), foreign key (x, y) ' +
          'references typed_text)'
      )
      const options = { ...on.options, tables: { tenant: { ...typed, parent: 'Tenant Id' } } }
      const manager = createManager(options)
      t.teardown(() => manager.close())
      const setup = createManager({ ...options, database: on.superUrl })
      t.teardown(() => setup.close())
      await setup.protect()
      const ids = async (): Promise<string[]> =>
        (await manager.doctor()).findings.filter(({ level }) => level !== 'info').map(({ id, object }) =>
          `${id} ${object}`
        )
      t.same((await ids()).filter(text => /D1/.test(text)), [])
      const other = createManager({
        ...options,
        rls: { ...rls, context: rls.context === 'role' ? 'setting' : 'role' }
      })
      t.teardown(() => other.close())
      const { findings } = await other.doctor()
      t.same(
        findings.filter(({ id }) => id === 'D109').map(({ object }) => object).toSorted(),
        types.map(type => `policy tenancy_tenant on public.typed_${type}`).toSorted()
      )
    })
  }
})
