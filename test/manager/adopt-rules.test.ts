// What an operator decides for an adoption: the rules that assign rows to tenants, and the
// customers that become tenants.
import { createManager, type Manager, type ManagerOptions } from '@fastify-tenancy/manager'
import t, { type Test } from 'tap'

import { connect, loginOf, loginUrl } from '../support/sql.ts'
import { acme, backfill, globex, none, old, tables, wrong, type Old } from './legacy-fixture.ts'

/** A manager with other options on the same database. */
function managerOf (t: Test, { url, legacy }: Old, options: Partial<ManagerOptions> = {}): Manager {
  const manager = createManager({
    database: { url: loginUrl(url, 'app'), ownerUrl: url },
    tables: { ...tables, shared: ['countries'], global: ['accounts'] },
    ...options,
    adoption: { backfill, legacy: { [loginOf(legacy).user]: '2999-12-31' }, ...options.adoption }
  })
  t.teardown(() => manager.close())
  return manager
}

const settings = async ({ admin }: Old): Promise<unknown> =>
  (await admin.query('select key, tenant_id from settings order by key')).rows

t.test('prepare fills rows anew whose rule changed, and leaves those that new code wrote', async t => {
  const world = await old(t)
  const { admin, manager } = world
  await manager.protect({ stage: 'prepare' })
  await admin.query(
    `insert into settings (key, tenant_id) values ('by new code', '0190f2a4-0000-7000-8000-00000000000c')`
  )
  const changed = managerOf(t, world, {
    adoption: { backfill: { ...backfill, settings: { value: globex } } }
  })
  const { remarks } = await changed.protect({ stage: 'prepare' })
  t.ok(remarks.some(remark => /^settings: tenant .*b; the rule changed/.test(remark)))
  t.same(await settings(world), [
    { key: 'by new code', tenant_id: '0190f2a4-0000-7000-8000-00000000000c' },
    { key: 'theme', tenant_id: globex }
  ])
  const again = await changed.protect({ stage: 'prepare' })
  t.notOk(again.remarks.some(remark => remark.includes('the rule changed')), 'once')
  await admin.query("insert into settings (key) values ('later')")
  t.match(await settings(world), [{}, { key: 'later', tenant_id: globex }, {}])
})

t.test('a changed rule changes the rows of child tables, also after an interrupted call', async t => {
  const world = await old(t)
  await (await connect(t, world.legacy)).query(
    'create table boards (id int primary key); create table cards (board_id int not null ' +
      'references boards); insert into boards values (1), (2); insert into cards values (1), (2)'
  )
  const ruled = (value: string, progress: ManagerOptions['progress'] = () => {}): Manager =>
    managerOf(t, world, {
      tables: { tenant: ['boards', 'cards'] },
      adoption: { backfill: { boards: { value } }, type: 'uuid' },
      progress
    })
  const tenantsOf = async (table: string): Promise<unknown> =>
    (await world.admin.query(`select distinct tenant_id as id from ${table}`)).rows
  await ruled(acme).protect({ stage: 'prepare' })
  const cut = ruled(globex, ({ step }) => {
    if (step === 'boards: rule applied') throw new Error('cut short')
  })
  await t.rejects(cut.protect({ stage: 'prepare' }), { message: 'cut short' })
  t.same(await tenantsOf('boards'), [{ id: globex }])
  t.same(await tenantsOf('cards'), [{ id: acme }], 'control: the child is not done yet')
  await ruled(globex).protect({ stage: 'prepare' })
  t.same(await tenantsOf('cards'), [{ id: globex }])
  // A child table that the call does not name is refilled together with its parent.
  await ruled(acme).protect({ stage: 'prepare', only: ['boards'] })
  t.same(await tenantsOf('cards'), [{ id: acme }])
})

t.test('prepare asks for every decision at once and counts the rows without a tenant', async t => {
  const world = await old(t)
  await world.admin.query("insert into events (user_id, at) values (777, '2025-02-02'), (778, '2025-02-02')")
  await t.rejects(
    managerOf(t, world, { adoption: { backfill: {}, legacy: {} } }).protect({ stage: 'prepare' }),
    {
      message: new RegExp(
        String.raw`3 decisions are missing: \(1\) .*'events'.*\(2\) .*'settings'.*\(3\) role ` +
          String.raw`'login_legacy_\w+' would lose organizations, users`
      )
    }
  )
  await t.rejects(world.manager.protect({ stage: 'prepare' }), {
    message: /^2 rows of events have no tenant/
  })
  t.same(
    (await world.admin.query(
      "select from pg_attribute where attname = 'tenant_id' and attrelid in ('tasks'::regclass, " +
        "'projects'::regclass)"
    )).rows,
    []
  )
  await world.admin.query('delete from events where user_id > 700')
  await world.manager.protect({ stage: 'prepare' })
  t.same((await world.admin.query(wrong)).rows, [none])
})

t.test('customers of a query become tenants after a check of all, and a repeat makes none', async t => {
  const world = await old(t)
  const manager = managerOf(t, world)
  const from = (query: string): ReturnType<Manager['createFrom']> => manager.createFrom({ query })
  await t.rejects(
    from("select id, case name when 'Acme' then 'acme' else 'WWW!' end as slug from organizations"),
    {
      code: 'FST_TENANCY_SETUP_INVALID',
      message: /no tenant was created.*1 rows of the query.*'WWW!'/s
    }
  )
  await t.rejects(from("select id, 'same' as slug from organizations"), { message: /has this slug/ })
  await t.rejects(from('delete from organizations returning id, name as slug'), { code: '42601' })
  t.equal(await manager.get({ slug: 'acme' }), undefined, 'nothing was made')
  const query = "select id, lower(name) as slug, name, 'pro' as plan from organizations;"
  const reports = await Promise.all([from(query), from(query)])
  t.equal(reports.flatMap(({ created }) => created).length, 2, 'two calls at once make each tenant once')
  t.match(await manager.get({ slug: 'acme' }), { id: acme, name: 'Acme', plan: 'pro' })
  await manager.rename({ slug: 'globex' }, 'globex-new')
  t.same(await from(query), { created: [], existing: 2 })
})
