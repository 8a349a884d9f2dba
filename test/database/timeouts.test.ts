// Whose time a timeout counts, and what it is called.
import { toHttpError } from '@fastify-tenancy/database'
import { sql } from 'kysely'
import { once } from 'node:events'
import { get, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import t from 'tap'

import { dbOf, suite } from '../support/suite.ts'
import { handle, open, provision } from '../support/tenants.ts'
import { until } from '../support/until.ts'

const on = await provision(t)
await on.admin(
  "insert into notes (tenant_id, body) select 'acme', repeat('x', 1000) from generate_series(1, 1000)"
)
await on.admin(
  "insert into notes (tenant_id, body) select 'id-acme', repeat('x', 20000) from generate_series(1, 1000)"
)

const sessions = (state: string): Promise<unknown[]> =>
  on.admin(
    "select from pg_stat_activity where datname = current_database() and usename like '%\\_app' " +
      'and state = $1',
    [state]
  )

/** Waits until the statement that is under way has been so for longer than its timeout. */
const overdue = (after: string): Promise<unknown> =>
  until(async () =>
    (await on.admin(
      `
  select from pg_stat_activity where datname = current_database() and usename like '%\\_app'
    and state = 'active' and clock_timestamp() - query_start > $1::interval`,
      [after]
    )).length > 0
  )

for (const use of ['a statement', 'the commit'] as const) {
  t.test(`END-11 a transaction that was idle for too long is reported as 25P03 by ${use}`, async t => {
    const database = await open(t, on, { idleInTransaction: '100ms' })
    const { db } = handle(t, database, 'acme')
    const trx = await db.startTransaction().execute()
    await trx.selectFrom('notes').select('id').limit(1).execute()
    await until(async () => (await sessions('idle in transaction')).length === 0)
    const error =
      await (use === 'a statement' ? trx.selectFrom('notes').select('id').execute() : trx.commit().execute())
        .then(() => undefined, (error: unknown) => error)
    t.match(error, { code: '25P03', message: /idle-in-transaction timeout/ })
    t.match(toHttpError(error), { statusCode: 503, code: 'FST_TENANCY_DATABASE_RETRY', retryAfter: 1 })
    await trx.rollback().execute().catch(() => {})
    t.equal(
      (await db.selectFrom('notes').select('id').limit(1).execute()).length,
      1,
      'another connection serves on'
    )
  })
}

t.test('END-11 a stream continues if its consumer takes longer than statementTimeout', async t => {
  const database = await open(t, on, { statementTimeout: '1s', idleInTransaction: '1s' })
  const { db } = handle(t, database, 'acme')
  let rows = 0
  const read = async (from: typeof db): Promise<void> => {
    rows = 0
    for await (const row of from.selectFrom('notes').select('id').stream(250)) {
      void row
      if (rows++ === 0) await overdue('1.2s')
    }
  }
  await read(db)
  t.equal(rows, 1_000)
  await db.transaction().execute(read)
  t.equal(rows, 1_000)
  await t.rejects(
    sql`select pg_sleep(10)`.execute(db),
    { code: '57014' },
    'a statement that is no stream has its timeout'
  )
})

t.test('END-11 the server’s own work on a stream counts, over all portions', async t => {
  const database = await open(t, on, { statementTimeout: '300ms' })
  const { db } = handle(t, database, 'acme')
  let rows = 0
  const error = await (async () => {
    for await (
      const row of db.selectFrom('notes').select(['id', sql`pg_sleep(0.05)::text`.as('slept')]).stream(1)
    ) {
      void row
      rows++
    }
  })().then(() => undefined, (error: unknown) => error)
  t.match(error, { code: '57014' })
  t.match(toHttpError(error), { statusCode: 503 })
  t.ok(rows >= 1 && rows <= 6, `${rows} rows of 50 ms each`)
  await until(async () => (await sessions('active')).length === 0)
  t.equal((await db.selectFrom('notes').select('id').limit(1).execute()).length, 1)
})

t.test('END-11 an export of a route is read in full by a slow client', async t => {
  const app = await suite(t, on, { database: { statementTimeout: '2s' } })
  app.get('/export', request =>
    Readable.from(
      (async function* () {
        for await (const { body } of dbOf(request).selectFrom('notes').select('body').stream(100)) yield body
      })(),
      { objectMode: false, highWaterMark: 10_000 }
    ))
  await app.listen({ port: 0, host: '127.0.0.1' })
  const [response] = await once(
    get({
      port: (app.server.address() as AddressInfo).port,
      path: '/export',
      agent: false,
      headers: { host: 'acme.example.com' }
    }),
    'response'
  ) as [IncomingMessage]
  let length = 0
  for await (const chunk of response) {
    if (length === 0) await overdue('2.2s')
    length += (chunk as Buffer).length
  }
  t.equal(length, 20_000_000)
})
