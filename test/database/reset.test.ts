import { sql, type CompiledQuery, type Kysely } from 'kysely'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import pg from 'pg'
import t from 'tap'

import { noPgBouncer, pgBouncer } from '../support/pgbouncer.ts'
import { tcpProxy } from '../support/tcp-proxy.ts'
import { handle, open, provision, type Rows } from '../support/tenants.ts'
import { until } from '../support/until.ts'
import { harmlessHandles } from './harmless-handle.ts'

const on = await provision(t)
const isBuilt = ({ sql: text }: CompiledQuery): boolean => text.includes('"notes"') && !text.includes('pg_')
const pidOf = async (db: Kysely<Rows>): Promise<unknown> =>
  (await sql<{ pid: number }>`select pg_backend_pid() as pid`.execute(db)).rows[0]?.pid
const count = (text: string, what: string): number => text.split(what).length - 1

t.test('CON-05 harmless statements of fifty tenants in turn send no reset', async t => {
  const proxy = await tcpProxy(t, on.url)
  const handleOf = await harmlessHandles(t, on, { url: proxy.url, pool: { max: 1 } }, isBuilt)
  const handles = Array.from({ length: 50 }, (_, n) => handleOf(`tenant-${n}`))
  const sent = proxy.record()
  for (let n = 0; n < 1_000; n++) {
    const db = handles[n % 50] as Kysely<Rows>
    if (n % 2 === 0) await db.insertInto('notes').values({ body: `tenant-${n % 50}:${n}` }).execute()
    else t.ok(
        (await db.selectFrom('notes').select('body').where('n', '=', 0).execute()).every(({ body }) =>
          body.startsWith(`tenant-${n % 50}:`)
        )
      )
  }
  t.notMatch(sent(), /discard|setseed|deallocate/i)
  t.equal(proxy.opened, 1)
  // A transaction of harmless statements drops the values of sequences, and resets nothing.
  await handles[0]?.transaction().execute(trx =>
    trx.insertInto('notes').values({ body: 'tenant-0:t' }).execute()
  )
  t.equal(count(sent(), 'discard all'), 0)
  t.equal(count(sent(), 'discard sequences'), 1)

  await sql`select 1`.execute(handles[1] as Kysely<Rows>)
  t.equal(count(sent(), 'discard all'), 1, 'control: any other statement does send one')
  await sql`select 1`.execute(handles[1] as Kysely<Rows>)
  t.equal(count(sent(), 'discard all'), 1, 'the same tenant needs no other')
  await handles[2]?.selectFrom('notes').select('body').execute()
  t.equal(count(sent(), 'discard all'), 2, 'nor does a harmless statement run on a touched connection')
})

t.test("CON-05 with reset 'always' each change of tenant resets, and no statement between", async t => {
  const proxy = await tcpProxy(t, on.url)
  const handleOf = await harmlessHandles(
    t,
    on,
    { url: proxy.url, pool: { max: 1 }, reset: 'always' },
    isBuilt
  )
  const [a, b] = [handleOf('acme'), handleOf('globex')]
  await a.selectFrom('notes').select('body').execute()
  const sent = proxy.record()
  for (const db of [a, a, b, b, a]) await db.selectFrom('notes').select('body').execute()
  t.equal(count(sent(), 'discard all'), 2)
})

t.test('a reset is in the write of the statement behind it', async t => {
  const proxy = await tcpProxy(t, on.url)
  const database = await open(t, on, { url: proxy.url, pool: { max: 1 } })
  const [a, b] = [handle(t, database, 'acme').db, handle(t, database, 'globex').db]
  await sql`select 1`.execute(a)
  proxy.reset()
  await sql`select 1`.execute(b)
  t.equal(proxy.waits, 1)
  await b.transaction().execute(trx => sql`select 1`.execute(trx))
  await a.transaction().execute(trx => sql`select 1`.execute(trx))
  t.equal(proxy.waits, 5)
})

t.test('a reset and the first check work with a transaction of any isolation level', async t => {
  const database = await open(t, on, { pool: { max: 1 } })
  const [a, b] = [handle(t, database, 'acme').db, handle(t, database, 'globex').db]
  const levels = ['read committed', 'repeatable read', 'serializable'] as const
  for (const [n, level] of levels.entries()) {
    for (const db of [a, b]) {
      // Each connection is new to the first of them, and touched by the other one's statement for
      // the second.
      if (db === a)
        await on.admin(
          `select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = current_database()
            and usename = '${decodeURIComponent(new URL(on.url).username)}'`
        )
      const { rows } = await db.transaction().setIsolationLevel(level).setAccessMode(
        n === 1 ? 'read only' : 'read write'
      )
        .execute(trx =>
          sql`select current_setting('transaction_isolation') as level,
            current_setting('transaction_read_only') as read_only`
            .execute(trx)
        )
      t.same(rows, [{ level, read_only: n === 1 ? 'on' : 'off' }])
    }
    const trx = await a.startTransaction().setIsolationLevel(level).execute()
    const saved = await trx.savepoint('first').execute()
    t.same((await sql`select current_setting('transaction_isolation') as level`.execute(saved)).rows, [{
      level
    }], 'behind a savepoint')
    await saved.rollback().execute()
  }
})

t.test('CON-24 sequence values and prepared texts of harmless statements stay hidden', async t => {
  const handleOf = await harmlessHandles(t, on, { pool: { max: 1 } }, isBuilt)
  const [a, b] = [handleOf('acme'), handleOf('globex')]
  const insert = (): Promise<unknown> => a.insertInto('notes').values({ body: 'acme:drawn' }).execute()
  const texts = sql<
    { statement: string }
  >`select statement from pg_prepared_statements where statement like '%"notes"%' and statement not like
    '%pg_prepared%'`
  await insert()
  await t.rejects(sql`select lastval()`.execute(b), { code: '55000' })
  await insert()
  t.same((await texts.execute(b)).rows, [])
  await insert()
  // In a transaction whose first statement is harmless no reset is possible any more.
  await b.transaction().execute(async trx => {
    await trx.selectFrom('notes').select('body').execute()
    t.same((await texts.execute(trx)).rows, [])
    await t.rejects(sql`select currval('notes_id_seq')`.execute(trx), { code: '55000' })
  }).catch(() => {})
  await insert()
  await b.transaction().execute(async trx => {
    await trx.insertInto('notes').values({ body: 'globex:drawn' }).execute()
    t.match(
      (await sql`select lastval()::int as drawn`.execute(trx)).rows,
      [{ drawn: Number }],
      'its own it may ask for'
    )
    await trx.selectFrom('notes').select('body').where('n', '=', 0).execute()
  })
  t.match((await a.selectFrom('notes').select('body').where('n', '=', 0).execute())[0], {
    body: 'acme:drawn'
  })
})

t.test('a connection used by other code is reset, and its prepared names dropped', async t => {
  const pool = new pg.Pool({ connectionString: on.url, max: 1 })
  t.teardown(() => pool.end())
  const database = await open(t, on, { url: pool })
  const { db } = handle(t, database, 'acme')
  const named = (): Promise<unknown> =>
    pool.query({ name: 'theirs', text: 'select $1::int as n', values: [1] })
  await named()
  await pool.query("select set_config('app.mark', 'theirs', false)")
  t.same((await sql`select coalesce(current_setting('app.mark', true), '') as mark`.execute(db)).rows, [{
    mark: ''
  }])
  await t.resolves(named(), 'its own named statement is prepared anew')
})

t.test('CON-03 a look-up on connections that tenants use does not meet what a tenant left', async t => {
  const pool = new pg.Pool({ connectionString: on.url, max: 1 })
  t.teardown(() => pool.end())
  const database = await open(t, on, { url: pool })
  const { db } = handle(t, database, 'acme')
  await on.admin(
    `grant execute on function tenancy.tenant_by_id(text) to "${
      decodeURIComponent(new URL(on.url).username)
    }"`
  )
  const login = (await on.admin<{ role: string }>(
    "select 'tenancy_app_' || substr(md5(current_database()), 1, 8) as role"
  ))[0]?.role ?? ''
  await sql`select set_config('role', ${login}, false), set_config('statement_timeout', '1', false)`.execute(
    db
  )
  t.equal(
    await database.registry.findById('nobody'),
    undefined,
    'the role that was left may not look tenants up'
  )
})

t.test('CON-03 an idle connection is reset, so that a lock of its session does not last', async t => {
  const database = await open(t, on, { pool: { max: 1 } })
  const { db } = handle(t, database, 'acme')
  await on.admin(
    'create function lock_session () returns int language plpgsql as $$ begin perform ' +
      'pg_advisory_lock(99); return 1; end $$'
  )
  const locks = (): Promise<unknown[]> =>
    on.admin(
      "select from pg_locks where locktype = 'advisory' and objid = 99 and database = (select oid " +
        'from pg_database where datname = current_database())'
    )
  await sql`select lock_session()`.execute(db)
  const pid = await pidOf(db)
  t.equal((await locks()).length, 1)
  await until(async () => (await locks()).length === 0)
  t.equal(await pidOf(db), pid)
})

t.test('CON-19 connections whose reset fails are closed, and no statement fails', async t => {
  const database = await open(t, on, { pool: { max: 4 }, fairness: { share: 1 } })
  const { db } = handle(t, database, 'acme')
  await on.admin(`create function spoil () returns int language plpgsql as $$ begin
    for i in 1..60 loop execute format('create temporary table t%s (a int primary key)', i); end loop;
    perform set_config('statement_timeout', '1', false), pg_sleep(0.05); return 1; end $$`)
  await Promise.all(Array.from({ length: 3 }, () => sql`select spoil()`.execute(db).catch(() => {})))
  const other = handle(t, database, 'globex').db
  await t.resolves(
    Promise.all(Array.from({ length: 6 }, () => other.selectFrom('notes').selectAll().execute()))
  )
  await t.resolves(
    other.transaction().execute(async trx => {
      await trx.insertInto('notes').values({ body: 'globex:after' }).execute()
    })
  )
})

t.test('CON-03 a connection is closed, not reset, if a language keeps session values', async t => {
  const own = await provision(t)
  await own.admin('create language stateful handler plpgsql_call_handler')
  const database = await open(t, own, { pool: { max: 1 } })
  const [a, b] = [handle(t, database, 'acme').db, handle(t, database, 'globex').db]
  const pid = await pidOf(a)
  t.equal(await pidOf(a), pid, 'the same tenant keeps its connection')
  t.not(await pidOf(b), pid)
  t.same(await b.selectFrom('notes').select('body').execute(), [])
})

t.test('CON-04 CON-20 through PgBouncer a statement is one wait, and so is the end of a transaction', {
  skip: noPgBouncer
}, async t => {
  const proxy = await tcpProxy(t, await pgBouncer(t, on.url, 'transaction', { size: 1 }))
  const database = await open(t, on, { url: proxy.url, pool: { max: 1 } })
  const { db } = handle(t, database, 'acme')
  await sql`select 1`.execute(db)
  proxy.reset()
  await sql`select 1`.execute(db)
  t.equal(proxy.waits, 1)
  await t.rejects(sql`select * into temporary left_behind from notes`.execute(db), {
    code: 'FST_TENANCY_QUERY_REFUSED'
  })
  t.equal(proxy.waits, 1, 'refused before it is sent')
  await t.rejects(sql`select 1 / 0`.execute(db), { code: '22012' })
  t.equal(proxy.waits, 2)
  await db.transaction().execute(async trx => {
    await sql`select 1`.execute(trx)
    await sql`select 1`.execute(trx)
  })
  t.equal(proxy.waits, 5)
  for await (const row of db.selectFrom('countries').selectAll().orderBy('code').stream(1)) t.ok(row)
  t.ok(proxy.waits <= 9)
})

t.test(
  'CON-20 through PgBouncer transactions of any kind undo what they leave',
  { skip: noPgBouncer },
  async t => {
    const database = await open(t, on, {
      url: await pgBouncer(t, on.url, 'transaction', { size: 1 }),
      pool: { max: 1 }
    })
    const [a, b] = [handle(t, database, 'acme').db, handle(t, database, 'globex').db]
    const failures: unknown[] = []
    const note = (failure: unknown): void => {
      failures.push(failure)
    }
    subscribe('fastify-tenancy:undo-failed', note)
    t.teardown(() => unsubscribe('fastify-tenancy:undo-failed', note))
    const look = sql<{ mark: string }>`select coalesce(current_setting('app.mark', true), '') as mark`
    for (const level of ['read committed', 'repeatable read', 'serializable'] as const) {
      for (const mode of ['read only', 'read write'] as const) {
        for (const ending of ['commit', 'rollback', 'failure'] as const) {
          const pid = await pidOf(b)
          await a.transaction().setIsolationLevel(level).setAccessMode(mode).execute(async trx => {
            await sql`select set_config('app.mark', 'left', false), setseed(0.5)::text`.execute(trx)
            if (ending === 'rollback') throw new Error('on purpose')
            if (ending === 'failure') await sql`select 1 / 0`.execute(trx).catch(() => {})
          }).catch(() => {})
          t.same((await look.execute(b)).rows, [{ mark: '' }], `${level}, ${mode}, ${ending}`)
          t.equal(await pidOf(b), pid, 'the pooler keeps its backend')
        }
      }
    }
    t.same(failures, [])
  }
)

t.test(
  'CON-20 a transaction that is left open at a pooler goes with its backend',
  { skip: noPgBouncer },
  async t => {
    const url = await pgBouncer(t, on.url, 'transaction', { size: 1 })
    const database = await open(t, on, { url, pool: { max: 1 } })
    const left = handle(t, database, 'acme')
    const trx = await left.db.startTransaction().execute()
    await sql`select set_config('app.mark', 'left', false), pg_advisory_lock_shared(1) is null as locked
      from pg_sleep(0)`
      .execute(trx).catch(() => {})
    await sql`select set_config('app.mark', 'left', false)`.execute(trx).catch(() => {})
    left.scope.end()
    const { db } = handle(t, database, 'globex')
    t.same((await sql`select coalesce(current_setting('app.mark', true), '') as mark`.execute(db)).rows, [{
      mark: ''
    }])
  }
)

t.test('the boot says that a pooler does not reset its backends, and says nothing where it does', {
  skip: noPgBouncer
}, async t => {
  const warningsOf = async (lines: string): Promise<string> => {
    const database = await open(t, on, { url: await pgBouncer(t, on.url, 'transaction', { size: 1, lines }) })
    return ((await database.boot()).warnings ?? []).join('\n')
  }
  t.match(await warningsOf(''), /server_reset_query_always/)
  t.notMatch(await warningsOf('server_reset_query_always = 1'), /server_reset_query_always/)
})
