// From plain to signed policies while processes run: they do not sign, so each of their statements
// would fail.
import { createManager, type Manager } from '@fastify-tenancy/manager'
import t, { type Test } from 'tap'

import { connect, databaseOf } from '../support/sql.ts'
import { handle, open, provision, testSecret, type Provisioned } from '../support/tenants.ts'
import { until } from '../support/until.ts'

function managerOf (t: Test, on: Provisioned): Manager {
  const manager = createManager({
    database: { url: on.url, ownerUrl: on.ownerUrl, registryUrl: on.registryUrl, systemUrl: on.systemUrl },
    tables: on.tables,
    rls: { secret: testSecret }
  })
  t.teardown(() => manager.close())
  return manager
}

const refusal = {
  code: 'FST_TENANCY_SETUP_INVALID',
  message: /\d connections? of the login '\w+_app' do not sign: stop these processes, run `tenancy protect`/
}

t.test('protect refuses signed policies while processes that do not sign are connected', async t => {
  const on = await provision(t, { secret: false })
  const manager = managerOf(t, on)
  await manager.init({ url: on.superUrl })
  const database = await open(t, on)
  const { db } = handle(t, database, 'acme')
  const insert = (): Promise<unknown> => db.insertInto('notes').values({ body: 'acme:1' }).execute()
  await insert()
  const connections = async (): Promise<number> =>
    (await on.admin('select from pg_stat_activity where usename = $1', [`${databaseOf(on.superUrl)}_app`]))
      .length
  await t.rejects(manager.protect(), refusal)
  await t.rejects(manager.protect({ stage: 'enforce' }), refusal)
  const { scripts } = await manager.protect({ print: 'sql' })
  t.match(JSON.stringify(scripts), /do not sign: stop these processes before you run this script/)
  await insert()

  await database.close()
  await until(async () => await connections() === 0)
  const listener = await connect(t, on.registryUrl)
  await listener.query('listen tenancy')
  await t.rejects(manager.protect(), {
    message: /1 connection of the login '\w+_registry' do not sign/
  }, 'a process whose pool is empty still listens for changes of tenants')
  await listener.end()
  await manager.protect()
  const signed = await open(t, { ...on, secret: testSecret })
  const rows = await handle(t, signed, 'acme').db.selectFrom('notes').selectAll().execute()
  t.equal(rows.length, 2)
  await manager.protect()
  t.pass('signed policies stay so while processes are connected')
  await t.rejects(open(t, on), { message: /asks for a signature, and options.rls.secret is missing/ })
})

t.test('control: policies changed in spite of that fail each unsigned statement, no leak', async t => {
  const on = await provision(t, { secret: false })
  const manager = managerOf(t, on)
  await manager.init({ url: on.superUrl })
  // Closed at once, so that no connection is there to be seen.
  const database = await open(t, on, { pool: { max: 1 } })
  const { db } = handle(t, database, 'acme')
  await db.insertInto('notes').values({ body: 'acme:1' }).execute()
  await on.admin(
    'select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = $1',
    [`${databaseOf(on.superUrl)}_app`]
  )
  await manager.protect()
  await t.rejects(db.selectFrom('notes').selectAll().execute(), { code: 'TN401' })
  await t.rejects(db.insertInto('notes').values({ body: 'acme:2' }).execute(), { code: 'TN401' })
  t.same(await on.admin('select body from notes'), [{ body: 'acme:1' }])
})
