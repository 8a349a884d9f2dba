// One secret takes the place of another while processes with either are at work.
import { openDatabase, type DatabaseRuntime } from '@fastify-tenancy/database'
import { resolveDatabaseOptions } from '@fastify-tenancy/database/options'
import { signingKey } from '@fastify-tenancy/postgres/context-token'
import { assertOwn } from '@fastify-tenancy/testing'
import t, { type Test } from 'tap'

import { init } from '../../packages/postgres/src/install/init.ts'
import { connect } from '../support/sql.ts'
import { handle, provision, testSecret, type Provisioned } from '../support/tenants.ts'

const newer = 'another secret of the tests, 32 characters and more'

async function open (t: Test, on: Provisioned, secret: string | [string, string]): Promise<DatabaseRuntime> {
  const database = openDatabase(
    resolveDatabaseOptions({
      database: { url: on.url, pool: { max: 2 } },
      tables: on.tables,
      rls: { secret }
    })
  )
  t.teardown(() => database.close())
  await database.boot()
  return database
}

t.test('INJ-24 while half of the processes have the new key, no request fails or leaks', async t => {
  const on = await provision(t)
  const admin = await connect(t, on.superUrl)
  const before = await open(t, on, testSecret)
  await init(admin, { signingSecrets: [newer, testSecret] })
  const after = await open(t, on, [newer, testSecret])
  const processes = [before, after]
  await Promise.all(Array.from({ length: 100 }, async (_, n) => {
    const tenant = n % 4 < 2 ? 'acme' : 'globex'
    const { db } = handle(t, processes[n % 2] as DatabaseRuntime, tenant)
    await db.insertInto('notes').values({ body: `${tenant}:${n}` }).execute()
    t.ok(
      assertOwn(await db.selectFrom('notes').selectAll().execute(), {
        tenant,
        tenants: ['acme', 'globex']
      }) > 0
    )
  }))
  await init(admin, { signingSecrets: [newer], dropOldSecrets: 'now' })
  await t.rejects(
    handle(t, before, 'acme').db.selectFrom('notes').selectAll().execute(),
    { code: 'TN401' },
    'the old key has had its day: an error, and no empty account'
  )
  t.ok((await handle(t, after, 'acme').db.selectFrom('notes').selectAll().execute()).length > 0)
  t.not(signingKey(newer).id, signingKey(testSecret).id)
})

t.test('CON-18 init with a new secret breaks no process with the old one', async t => {
  const on = await provision(t)
  const admin = await connect(t, on.superUrl)
  const before = await open(t, on, testSecret)
  await handle(t, before, 'acme').db.insertInto('notes').values({ body: 'acme:1' }).execute()
  const read = (database: DatabaseRuntime): Promise<unknown> =>
    handle(t, database, 'acme').db.selectFrom('notes').select('body').execute()
  const own = [{ body: 'acme:1' }]
  t.match(await init(admin, { signingSecrets: [newer] }), [
    new RegExp(
      'goes on accepting an earlier secret, since running processes may sign with it: ' +
        'run `tenancy init --drop-old-secrets`'
    )
  ])
  t.same(await read(before), own)
  t.same(await read(await open(t, on, newer)), own)
  t.same(await read(await open(t, on, testSecret)), own, 'nor one that starts again with the old one')
  await t.rejects(init(admin, { signingSecrets: [newer], dropOldSecrets: true }), {
    code: 'FST_TENANCY_SETUP_INVALID',
    message: /a running process signs with an earlier secret.*again after \d{4}-\d\d-\d\d \d\d:\d\d UTC/
  })
  t.same(await read(before), own, 'and the refusal has changed nothing')
  await on.admin("update tenancy.signing_uses set used_at = now() - interval '20 minutes'")
  await t.rejects(init(admin, { signingSecrets: [newer], dropOldSecrets: true }), {
    code: 'FST_TENANCY_SETUP_INVALID'
  })
  await on.admin("update tenancy.signing_uses set used_at = now() - interval '22 minutes'")
  t.same(await init(admin, { signingSecrets: [newer], dropOldSecrets: true }), [])
  await t.rejects(read(before), { code: 'TN401' }, 'control: this process would have been broken')
  t.same(await init(admin, { signingSecrets: [newer] }), [])
})

t.test('CON-18 before init a process with a new secret uses the known one, or stops', async t => {
  const on = await provision(t)
  const admin = await connect(t, on.superUrl)
  const old = await open(t, on, testSecret)
  await t.rejects(open(t, on, newer), {
    code: 'FST_TENANCY_SETUP_INVALID',
    message: /run `tenancy init` with this secret/
  })
  const database = openDatabase(
    resolveDatabaseOptions({
      database: { url: on.url },
      tables: on.tables,
      rls: { secret: [newer, testSecret] }
    })
  )
  t.teardown(() => database.close())
  t.match((await database.boot()).warnings, [/this process signs with the second: run `tenancy init`/])
  const { db } = handle(t, database, 'acme')
  await db.insertInto('notes').values({ body: 'acme:1' }).execute()
  t.match(await handle(t, old, 'acme').db.selectFrom('notes').selectAll().execute(), [{ body: 'acme:1' }])
  t.same(await init(admin, { signingSecrets: [newer, testSecret] }), [])
  t.match(await db.selectFrom('notes').selectAll().execute(), [{ body: 'acme:1' }])
  await t.rejects(init(admin, { signingSecrets: [newer], dropOldSecrets: true }), {
    code: 'FST_TENANCY_SETUP_INVALID'
  }, 'it still signs with the old one')
})

t.test('CON-18 what a tenant may call of this neither fills a table nor keeps others waiting', async t => {
  const on = await provision(t)
  const database = await open(t, on, testSecret)
  const tenant = await connect(t, on.url)
  await tenant.query('select tenancy.note_signing(n::text) from generate_series(1, 1000) n')
  t.same(await on.admin('select key_id from tenancy.signing_uses'), [{ key_id: signingKey(testSecret).id }])
  await t.rejects(tenant.query('select * from tenancy.signing_uses'), { code: '42501' })
  await tenant.query('begin')
  await tenant.query('select tenancy.note_signing($1)', [signingKey(testSecret).id])
  await open(t, on, testSecret)
  await init(await connect(t, on.superUrl), { signingSecrets: [newer], dropOldSecrets: 'now' })
  await tenant.query('rollback')
  t.equal(database.health().status, 'ok')
})
