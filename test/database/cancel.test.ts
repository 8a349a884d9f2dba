// What becomes of the backend when its statement is not wanted any more.
import { sql } from 'kysely'
import t, { type Test } from 'tap'

import { noPgBouncer, pgBouncer } from '../support/pgbouncer.ts'
import { tcpProxy } from '../support/tcp-proxy.ts'
import { handle, open, provision, type Provisioned } from '../support/tenants.ts'
import { until } from '../support/until.ts'

const max = 3
// Longer than any test: a statement that is not cancelled is found at work.
const sleep = sql`select pg_sleep(600)`

/** Backends of the application's login that are at work on the long statement. */
async function atWork (on: Provisioned): Promise<number> {
  const [row] = await on.admin<{ count: number }>(`
    select count(*)::int from pg_stat_activity
    where datname = current_database() and usename like '%\\_app' and state = 'active' and query like
      '%pg_sleep(600)%'`)
  return row?.count ?? 0
}

/**
 * Waits for so many milliseconds: what is aborted early may not have been sent, or not have
 * arrived.
 */
function pause (milliseconds: number): Promise<void> {
  return new Promise(resolve => {
    setTimeout(resolve, milliseconds)
  })
}

const patient = { statementTimeout: '20m', pool: { max } }

t.test('CON-13 a statement is cancelled also when the cancel request overtakes it', async t => {
  const on = await provision(t)
  const proxy = await tcpProxy(t, on.url)
  const database = await open(t, { ...on, url: proxy.url }, patient)
  const warm = handle(t, database, 'acme')
  await warm.db.selectFrom('notes').selectAll().execute()
  const { rows: [backend] } = await sql<{ pid: number }>`select pg_backend_pid() as pid`.execute(warm.db)
  proxy.reset()
  const letGo = proxy.hold()
  const { scope, db } = handle(t, database, 'acme')
  const failed = t.rejects(sleep.execute(db))
  await until(() => proxy.waits === 1)
  const { opened } = proxy
  scope.abort(new Error('the client has gone'))
  await failed
  await until(() => proxy.opened > opened)
  t.equal(await atWork(on), 0, 'the control: the statement has not arrived')
  letGo()
  await until(async () =>
    (await on.admin('select from pg_stat_activity where pid = $1', [backend?.pid])).length === 0
  )
})

t.test("CON-13 each of 150 aborted statements is cancelled, within the pool's size", async t => {
  const on = await provision(t)
  const proxy = await tcpProxy(t, on.url)
  const database = await open(t, { ...on, url: proxy.url }, patient)
  const over = new AbortController()
  let most = 0
  const watch = (async () => {
    while (!over.signal.aborted) most = Math.max(most, await atWork(on))
  })()
  // Statements are held up again and again; cancel requests, on connections of their own, are not.
  const disturb = (async () => {
    while (!over.signal.aborted) {
      const letGo = proxy.hold()
      await pause(7)
      letGo()
      await pause(3)
    }
  })()
  const workers = Array.from({ length: 6 }, async (_, worker) => {
    for (let round = 0; round < 25; round++) {
      const { scope, db } = handle(t, database, `tenant-${worker}`)
      const failed = sleep.execute(db).then(() => t.fail('it ran to its end'), () => {})
      await pause(2 + round % 12)
      scope.abort(new Error('the client has gone'))
      await failed
    }
  })
  await Promise.all(workers)
  over.abort()
  await Promise.all([watch, disturb])
  t.ok(most <= max, `${most} at work, the pool has ${max}`)
  await until(async () => await atWork(on) === 0)
  // The places have come back.
  const { db } = handle(t, database, 'acme')
  await db.selectFrom('notes').selectAll().execute()
})

const ways: Record<string, (t: Test, on: Provisioned) => Promise<unknown>> = {
  'a stream whose reader has gone': async (t, on) => {
    const database = await open(t, on, patient)
    const { scope, db } = handle(t, database, 'acme')
    const rows = sql<
      { n: number }
    >`select n, pg_sleep(case when n = 3 then 600 else 0 end) from generate_series(1, 5) n`.execute(db)
    rows.catch(() => {})
    await until(() => anyAtWork(on))
    scope.abort()
    return rows
  },
  'the second statement of a transaction': async (t, on) => {
    const database = await open(t, on, patient)
    const { scope, db } = handle(t, database, 'acme')
    const work = db.transaction().execute(async trx => {
      await trx.insertInto('notes').values({ body: 'lost' }).execute()
      await sleep.execute(trx)
    })
    work.catch(() => {})
    await until(() => anyAtWork(on))
    scope.abort()
    return work
  },
  'a call with an abort signal': async (t, on) => {
    const database = await open(t, on, patient)
    const { db } = handle(t, database, 'acme')
    const ended = new AbortController()
    const work = db.executeQuery(
      sql`select pg_sleep(600)`.compile(db),
      { signal: ended.signal, inflightQueryAbortStrategy: 'cancel query' } as never
    )
    work.catch(() => {})
    await until(() => anyAtWork(on))
    ended.abort()
    return work
  },
  'a stream that stands between two chunks': async (t, on) => {
    const database = await open(t, on, patient)
    const { scope, db } = handle(t, database, 'acme')
    await on.admin(
      "insert into notes (tenant_id, body) select 'acme', 'pg_sleep ' || n from generate_series(1, 50) n"
    )
    // Its text names what the other cases wait for.
    const rows = db.selectFrom('notes').select('body').where('body', 'like', 'pg_sleep%').stream(1)
    await rows.next()
    await rows.next()
    scope.abort()
    for await (const _ of rows) continue
  },
  'an application that closes': async (t, on) => {
    const database = await open(t, on, patient)
    const { scope, db } = handle(t, database, 'acme')
    const work = sleep.execute(db)
    work.catch(() => {})
    await until(() => anyAtWork(on))
    scope.abort()
    await database.close()
    return work
  }
}

t.test('CON-13 through PgBouncer a statement is cancelled too', { skip: noPgBouncer }, async t => {
  const on = await provision(t)
  const database = await open(t, { ...on, url: await pgBouncer(t, on.url) }, patient)
  for (let round = 0; round < 10; round++) {
    const { scope, db } = handle(t, database, 'acme')
    const failed = t.rejects(sleep.execute(db))
    await pause(round * 2)
    scope.abort()
    await failed
  }
  await until(async () => await atWork(on) === 0)
  t.same(await handle(t, database, 'acme').db.selectFrom('notes').selectAll().execute(), [])
})

async function anyAtWork (on: Provisioned): Promise<boolean> {
  const found = await on.admin(`
    select from pg_stat_activity
    where datname = current_database() and usename like '%\\_app' and state = 'active' and query like
      '%pg_sleep%'`)
  return found.length > 0
}

for (const [name, work] of Object.entries(ways)) {
  t.test(`CON-13 ${name}: its statement ends in the server`, async t => {
    const on = await provision(t)
    await t.rejects(work(t, on))
    await until(async () => !await anyAtWork(on))
  })
}
