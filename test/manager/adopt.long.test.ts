// Adoption of a database that has data from before it had tenants: the stage that makes the tenant
// columns, while old code runs.
import { createManager, type ManagerOptions, type Progress } from '@fastify-tenancy/manager'
import t from 'tap'

import { dumpCatalog } from '../postgres/catalog.ts'
import { connect } from '../support/sql.ts'
import { until } from '../support/until.ts'
import { acme, backfill, globex, none, old, prepared, shape, tables, work, wrong } from './legacy-fixture.ts'

t.test('MIG-06 prepare fills and indexes tenant columns without long waits for old code', async t => {
  const progress: Progress[] = []
  let pauseAt = 'tasks: fill new rows'
  const { admin, legacy, manager } = await old(t, {
    progress: event => {
      progress.push(event)
      if (event.step === pauseAt) throw new Error('paused')
    }
  })
  const code = await work(legacy)
  // A long read. A change of the table queues behind it, and all later statements queue behind the
  // change.
  const reader = await connect(t, legacy)
  await reader.query('begin; select count(*) from tasks; select count(*) from projects')
  const paused = t.rejects(manager.protect({ stage: 'prepare' }), { message: 'paused' })
  await until(() => progress.some(({ step }) => step === 'projects: add column: waiting for its lock'))
  t.same(
    (await admin.query(
      "select from pg_attribute where attrelid = 'projects'::regclass and attname = 'tenant_id'"
    )).rows,
    [],
    'it gave way, and tries again'
  )
  const seen = code.count
  // Between the attempts of `prepare`, while the long read still runs.
  await until(() => code.count > seen + 1, 20_000)
  await reader.query('commit')
  await paused
  pauseAt = ''
  // A row that another transaction has locked is skipped, and filled once it is free.
  await reader.query('begin; update tasks set title = title where id = 7')
  const done = manager.protect({ stage: 'prepare' })
  await until(
    async () =>
      (await admin.query('select count(*)::int as n from tasks where tenant_id is null')).rows[0].n === 1,
    20_000
  )
  await reader.query('commit')
  await done
  const { count, errors } = await code.stop()
  t.same(errors, [], 'old code met no error')
  t.ok(count > 10)
  t.same((await admin.query(shape)).rows, prepared)
  t.same((await admin.query(wrong)).rows, [none])

  await t.test('and again does nothing', async t => {
    const before = await dumpCatalog(admin)
    progress.length = 0
    await manager.protect({ stage: 'prepare' })
    t.equal(await dumpCatalog(admin), before)
    t.same(progress, [])
  })
  await t.test('rows that old code writes later get their tenant, also when they change it', async t => {
    const { rows: [row] } = await admin.query(
      "insert into tasks (project_id, title) values (1, 'x') returning id, tenant_id"
    )
    t.equal(row.tenant_id, acme)
    t.same(
      (await admin.query('update tasks set project_id = 2 where id = $1 returning tenant_id', [row.id])).rows,
      [{ tenant_id: globex }]
    )
    t.same((await admin.query("insert into settings (key) values ('y') returning tenant_id")).rows, [{
      tenant_id: acme
    }])
    await t.rejects(admin.query("insert into events (user_id, at) values (999, '2025-01-02')"), {
      code: '23502'
    }, 'a row without a tenant')
  })
})

t.test('prepare asks for missing facts with a fix before any change', async t => {
  const { admin, url } = await old(t)
  const refuses = async (options: Partial<ManagerOptions>, message: RegExp): Promise<void> => {
    const manager = createManager({ database: { url, ownerUrl: url }, tables, ...options })
    t.teardown(() => manager.close())
    await t.rejects(manager.protect({ stage: 'prepare', only: ['settings'] }), {
      code: 'FST_TENANCY_SETUP_INVALID',
      message
    })
    t.same((await admin.query(shape)).rows, [])
  }
  await refuses(
    { adoption: { backfill: {} } },
    /nothing identifies the tenant of rows of table 'settings': set options\.adoption\.backfill\.settings/
  )
  await refuses(
    { adoption: { backfill: { settings: { parent: 'users' } } } },
    /'settings' has no foreign key to 'users'/
  )
  await refuses(
    { adoption: { backfill: { users: false, settings: { parent: 'users' } } } },
    /backfill\.settings names 'users', which gets no tenant column because .*backfill\.users is false/
  )
  await refuses({ adoption: { backfill: { settings: { sql: 'now()' } } } }, /is of type timestamptz: cast it/)
  await refuses(
    { adoption: { backfill: { settings: { sql: 'no_such_column' } } } },
    /PostgreSQL refuses options\.adoption\.backfill/
  )
  await refuses(
    { adoption: { backfill: { settings: { value: acme } } }, tables: { tenant: ['settings'] } },
    /the type .* cannot be inferred: set options\.adoption\.type/
  )
  t.throws(
    () => createManager({ database: 'postgres://h/d', adoption: { backfill: { x: { value: 'a b' } } } }),
    { code: 'FST_TENANCY_OPTION_INVALID' }
  )
  t.throws(() => createManager({ database: 'postgres://h/d', adoption: { legacy: { x: 'soon' } } }), {
    code: 'FST_TENANCY_OPTION_INVALID',
    message: /must be a day/
  })

  await t.test('rows without a result of the expression stop prepare and block no reader', async t => {
    const { admin, legacy, manager } = await old(t)
    await admin.query("insert into events (user_id, at) values (777, '2025-02-02')")
    await t.rejects(manager.protect({ stage: 'prepare', only: ['events'] }), {
      code: 'FST_TENANCY_SETUP_INVALID',
      message: /rows of events have no tenant/
    })
    await (await connect(t, legacy)).query("update events set at = '2025-02-03' where user_id = 777")
    await admin.query('delete from events where user_id = 777')
    await manager.protect({ stage: 'prepare' })
    t.same((await admin.query(shape)).rows, prepared)
  })
  await t.test("rows that refer to another tenant's row are reported", async t => {
    const { admin, manager } = await old(t, {
      adoption: { backfill: { ...backfill, tasks: { value: acme } } }
    })
    await t.rejects(manager.protect({ stage: 'prepare' }), {
      code: 'FST_TENANCY_SETUP_INVALID',
      message: /rows of tasks refer to rows of projects of another tenant: correct project_id/
    })
    t.ok(admin)
  })
  await t.test('a lock that cannot be had ends prepare, and its holder continues', async t => {
    const { legacy, manager } = await old(t, {
      adoption: { backfill, lockTimeout: '20ms', lockWaitBudget: '100ms' }
    })
    const holder = await connect(t, legacy)
    await holder.query('begin; select from settings')
    await t.rejects(manager.protect({ stage: 'prepare', only: ['settings'] }), {
      code: 'FST_TENANCY_SETUP_INVALID',
      message: /settings: add column: the lock was not granted within 0\.1 s/
    })
    await holder.query('commit')
    await manager.protect({ stage: 'prepare', only: ['settings'] })
  })
})
