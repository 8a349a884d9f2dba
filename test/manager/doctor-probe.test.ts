import { createManager, type Manager } from '@fastify-tenancy/manager'
import t from 'tap'

import { databaseTemplate, dropDatabases } from '../strategies/strategy-fixture.ts'
import { grantOptions } from '../support/server-version.ts'
import { loginOf, loginUrl } from '../support/sql.ts'
import { fill } from './doctor-holes.ts'
import { doctorWorld, names as namesOf } from './doctor-fixture.ts'

const [one, other] = ['0190f2a4-0000-7000-8000-000000000001', '0190f2a4-0000-7000-8000-000000000002'] as const
const probed = async (manager: Manager): Promise<string[]> =>
  (await manager.doctor({ probe: true })).findings.filter(({ id, level }) =>
    id.startsWith('P') && level !== 'info'
  ).map(({ id, object }) => `${id} ${object}`)

t.test('INJ-17 INJ-20 INJ-11 INJ-12 RLS-01 RLS-06 the probe finds each attack that succeeds', async t => {
  const on = await doctorWorld(t)
  await on.admin(`
    insert into notes (tenant_id, title) values ('${one}', 'a'), ('${other}', 'b');
    insert into tasks (tenant_id) values ('${one}'); insert into events values ('${one}', 1, 'x');
    insert into steps values ('${one}', 1, 1); insert into people (email) values ('a@example.com')`)
  t.same(await probed(on.manager), [], 'nothing before')
  // Several holes at once. None of them may hide another.
  const rounds: [string[], string[], string[]][] = [
    [
      ['grant select on people to {login}',
        'create view all_notes as select * from notes; grant select on all_notes to {app}',
        'grant select on events_1 to {app}', 'grant {system} to {login}', 'grant truncate on notes to {app}',
        'grant create on schema public to public'],
      ['revoke select on people from {login}', 'drop view all_notes', 'revoke select on events_1 from {app}',
        'revoke {system} from {login}', 'revoke truncate on notes from {app}',
        'revoke create on schema public from public'],
      ['P01 relation public.people', 'P02 relation public.all_notes', 'P02 relation public.events_1',
        'P04 role {system}', 'P07 relation public.notes', 'P08 schema public']
    ],
    [
      ['grant select on people to {app}',
        'create materialized view kept as select * from notes; grant select on kept to public',
        "create policy open on notes for select to {app} using (current_setting('tenancy.tenant', true) " +
        "<> '')", `grant pg_read_all_data to {login} ${grantOptions.noInherit}`,
        'grant select on tenancy.signing_keys to {login}'],
      ['revoke select on people from {app}', 'drop materialized view kept', 'drop policy open on notes',
        'revoke pg_read_all_data from {login}', 'revoke select on tenancy.signing_keys from {login}'],
      ['P01 relation public.kept', 'P01 relation tenancy.signing_keys', 'P02 relation public.people',
        'P03 relation public.notes', 'P04 role pg_read_all_data', 'P05 relation tenancy.signing_keys',
        'P10 relation public.notes']
    ],
    [
      ['alter table events disable row level security', 'alter policy tenancy_tenant on notes ' +
        "using (tenant_id = nullif(current_setting('tenancy.tenant', true), '')::uuid)"],
      ['alter table events enable row level security', 'drop policy tenancy_tenant on notes'],
      ['P02 relation public.events', 'P06 relation public.events', 'P10 relation public.events',
        'P10 relation public.notes']
    ],
    [['create policy open on notes for select to {app} using (true)', 'alter table events owner to {app}'], [
      'drop policy open on notes'
    ], ['P02 relation public.notes', 'P07 relation public.events', 'P10 relation public.notes']]
  ]
  for (const [plants, mends, finds] of rounds) {
    for (const plant of plants) await on.admin(fill(plant, on))
    t.same(await probed(on.manager), finds.map(text => fill(text, on)))
    for (const mend of mends) await on.admin(fill(mend, on))
  }
  const { rows } = await on.admin('select count(*)::int as n from notes')
  t.same(rows, [{ n: 2 }], 'and everything was rolled back')
})

t.test("the fix of a probe's finding stops the attack", async t => {
  const on = await doctorWorld(t)
  await on.admin(
    fill(
      `insert into people (email) values ('a@example.com'); insert into notes (tenant_id) values ('${one}');
    grant select on people to {login}; create view all_notes as select * from notes;
    grant select on all_notes to {app}; grant {system} to {login};
    grant select on tenancy.signing_keys to {login}; grant truncate on notes to public;
    grant create on schema public to {app}`,
      on
    )
  )
  const { findings } = await on.manager.doctor({ probe: true })
  const mine = findings.filter(({ id, level }) => id.startsWith('P') && level !== 'info')
  t.same(mine.map(({ id }) => id), ['P01', 'P01', 'P02', 'P04', 'P05', 'P07', 'P08'])
  for (const { fix } of mine) await on.admin(fix)
  t.same(await probed(on.manager), [])
})

t.test('the probe reports one login for everything first', async t => {
  const on = await doctorWorld(t)
  await on.admin(fill('alter role {login} superuser', on))
  await on.admin(`insert into notes (tenant_id) values ('${one}')`)
  const ids = new Set((await probed(on.manager)).map(text => text.slice(0, 3)))
  for (const id of ['P01', 'P04', 'P05', 'P07', 'P08']) t.ok(ids.has(id), id)
  t.equal((await on.manager.doctor()).level, 0)
})

t.test('roles are tried one by one where the login may not use plpgsql', async t => {
  const on = await doctorWorld(t)
  await on.admin(fill('revoke usage on language plpgsql from public; grant {system} to {login}', on))
  t.same(await probed(on.manager), [fill('P04 role {system}', on)])
})

t.test('a login that cannot connect is a finding', async t => {
  const on = await doctorWorld(t)
  const manager = createManager({
    ...on.options,
    database: {
      ...on.options.database as object,
      url: loginUrl(on.superUrl, 'app').replace('secret%20of', 'wrong')
    } as never
  })
  t.teardown(() => manager.close())
  await on.admin(fill('alter role {login} nologin', on))
  t.same(await probed(manager), ['P13 options.database.url'])
})

t.test('SCH-04 a role that reads the schema of another tenant is found', async t => {
  const on = await doctorWorld(t, {
    isolation: 'schema',
    tables: {},
    provision: async ({ client }) => {
      await client.query('create table own (id int)')
    }
  })
  await on.manager.create({ slug: 'first', id: 'one' })
  await on.manager.create({ slug: 'second', id: 'other' })
  t.same(await probed(on.manager), [])
  await on.admin(
    fill(
      'grant usage on schema tenant_other to "tenant_one{suffix}"; ' +
        'grant select on tenant_other.own to "tenant_one{suffix}"',
      on
    )
  )
  t.same(await probed(on.manager), ['P11 schema tenant_other'])
  t.same((await on.found()).slice(0, 2), ['D412 schema tenant_other', 'D412 table tenant_other.own'])
  for (const { fix } of (await on.manager.doctor()).findings.filter(({ id }) => id === 'D412'))
    await on.admin(fix)
  t.same(await on.found(), [])
  t.same(await probed(on.manager), [])
})

t.test("INJ-20 a tenant's login that enters the database of another is found", async t => {
  const on = await doctorWorld(t, { tables: {} })
  const suffix = loginOf(loginUrl(on.superUrl, 'app')).user.slice(-8)
  const names = [`tenant_x${suffix}`, `tenant_y${suffix}`]
  dropDatabases(t, on.superUrl, names)
  const manager = createManager({
    ...on.options,
    isolation: 'database',
    database: {
      ...on.options.database as object,
      ownerUrl: on.superUrl,
      tenants: { url: databaseTemplate(on.superUrl) }
    } as never
  })
  t.teardown(() => manager.close())
  for (const id of [`x${suffix}`, `y${suffix}`]) await manager.create({ slug: `slug-${id}`, id })
  t.same(
    namesOf(await manager.doctor({ probe: true }), ['error', 'warning']),
    [],
    'CLI-06 nothing where each tenant has a database'
  )
  await on.admin(`grant connect on database ${names[1]} to public`)
  t.same(await probed(manager), [`P12 database ${names[1]}`])
  const { findings } = await manager.doctor()
  t.same(findings.filter(({ id }) => id === 'D603').map(({ object }) => object), [`database ${names[1]}`])
  t.same(
    namesOf(await on.manager.doctor(), ['warning']).filter(name => name.startsWith('D603')),
    [`database ${names[1]}`].map(name => `D603 ${name}`),
    'by the registry, whatever the strategy of new tenants'
  )
  const elsewhere = await doctorWorld(t)
  t.same(await elsewhere.found(), [], 'another registry of the same server says nothing of it')
  for (const { fix } of findings.filter(({ id }) => id === 'D603')) await on.admin(fix)
  t.same(await probed(manager), [])
})
