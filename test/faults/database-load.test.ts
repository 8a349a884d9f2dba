import { sql } from 'kysely'
import t from 'tap'

import { tcpProxy } from '../support/tcp-proxy.ts'
import { handle, open, provision } from '../support/tenants.ts'
import { until } from '../support/until.ts'

t.test('PGF-03 while one tenant holds a hundred slow queries, another is served at once', async t => {
  const on = await provision(t)
  const database = await open(t, on, { pool: { max: 4 } })
  const whale = handle(t, database, 'whale')
  const minnow = handle(t, database, 'minnow')
  let finished = 0
  const slow = Array.from(
    { length: 100 },
    () => sql`select pg_sleep(0.05)`.execute(whale.db).then(() => finished++)
  )
  await until(() => database.health().waiting > 0)
  for (let i = 0; i < 10; i++) await minnow.db.selectFrom('notes').selectAll().execute()
  t.ok(finished < 50, `ten statements of the other were answered when ${finished} of the hundred were`)
  await Promise.all(slow)
})

t.test('PGF-04 PGF-03 a full queue refuses its own tenant at once and no other tenant', async t => {
  const on = await provision(t)
  const database = await open(t, on, { pool: { max: 2 }, fairness: { maxWaiting: 3 } })
  const whale = handle(t, database, 'whale')
  const minnow = handle(t, database, 'minnow')
  const held = Array.from({ length: 4 }, () => sql`select pg_sleep(0.3)`.execute(whale.db))
  await until(() => database.health().waiting === 3)
  await t.rejects(sql`select 1`.execute(whale.db), {
    code: 'FST_TENANCY_DATABASE_BUSY',
    statusCode: 503,
    retryAfter: 1
  })
  t.same((await sql`select 1 as one`.execute(minnow.db)).rows, [{ one: 1 }])
  await Promise.all(held)
})

t.test('PGF-08 PGF-02 a frozen server fails statements in bounded time, and the pool recovers', async t => {
  const on = await provision(t)
  const proxy = await tcpProxy(t, on.url)
  const database = await open(t, on, {
    url: proxy.url,
    pool: { max: 1 },
    statementTimeout: '1s',
    fairness: { maxWait: '1s' }
  })
  const { db } = handle(t, database, 'acme')
  await db.insertInto('notes').values([{ body: 'acme:1' }, { body: 'acme:1' }, { body: 'acme:1' }]).execute()
  const reading = handle(
    t,
    await open(t, on, { url: proxy.url, pool: { max: 1 }, statementTimeout: '1s' }),
    'acme'
  ).db.selectFrom('notes').select('body').stream(1)
  await reading.next()
  proxy.blackHole()
  await Promise.all([
    t.rejects(
      async () => {
        for await (const row of reading) t.equal(row.body, 'acme:1')
      },
      { code: 'FST_TENANCY_DATABASE_UNAVAILABLE' },
      'the one whose rows are read in portions'
    ),
    t.rejects(
      db.selectFrom('notes').selectAll().execute(),
      { code: 'FST_TENANCY_DATABASE_UNAVAILABLE' },
      'the statement under way'
    ),
    t.rejects(handle(t, database, 'globex').db.selectFrom('notes').selectAll().execute(), {
      code: 'FST_TENANCY_DATABASE_BUSY'
    }, 'the one that waits for its connection')
  ])
  await t.rejects(
    db.selectFrom('notes').selectAll().execute(),
    { code: 'FST_TENANCY_DATABASE_UNAVAILABLE' },
    'a new connection'
  )
  proxy.restore()
  t.equal((await db.selectFrom('notes').select('body').execute()).length, 3)
})
