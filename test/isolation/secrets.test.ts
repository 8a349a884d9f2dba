// One secret takes the place of another while processes with either are at work.
import { openDatabase, resolveDatabaseOptions, signingKey, type TenancyDatabase } from '@fastify-tenancy/database'
import { assertIsolated } from '@fastify-tenancy/testing'
import t, { type Test } from 'tap'

import { init } from '../../packages/database/src/setup/init.ts'
import { connect } from '../support/sql.ts'
import { handle, provision, testSecret, type Provisioned } from '../support/tenants.ts'

const newer = 'another secret of the tests, 32 characters and more'

async function open (t: Test, on: Provisioned, secret: string | [string, string]): Promise<TenancyDatabase> {
  const database = openDatabase(resolveDatabaseOptions({ database: { url: on.url, pool: { max: 2 } }, tables: on.tables, rls: { secret } }))
  t.teardown(() => database.close())
  await database.boot()
  return database
}

t.test('INJ-24 while half of the processes have the new key, no request of either fails or sees another tenant', async t => {
  const on = await provision(t)
  const admin = await connect(t, on.superUrl)
  const before = await open(t, on, testSecret)
  await init(admin, { signingSecrets: [newer, testSecret] })
  const after = await open(t, on, [newer, testSecret])
  const processes = [before, after]
  await Promise.all(Array.from({ length: 100 }, async (_, n) => {
    const tenant = n % 4 < 2 ? 'acme' : 'globex'
    const { db } = handle(t, processes[n % 2] as TenancyDatabase, tenant)
    await db.insertInto('notes').values({ body: `${tenant}:${n}` }).execute()
    t.ok(assertIsolated(await db.selectFrom('notes').selectAll().execute(), { tenant, tenants: ['acme', 'globex'] }) > 0)
  }))
  await init(admin, { signingSecrets: [newer] })
  await t.rejects(handle(t, before, 'acme').db.selectFrom('notes').selectAll().execute(), { code: 'TN401' }, 'the old key has had its day: an error, and no empty account')
  t.ok((await handle(t, after, 'acme').db.selectFrom('notes').selectAll().execute()).length > 0)
  t.not(signingKey(newer).id, signingKey(testSecret).id)
})
