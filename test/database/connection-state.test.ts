import { toTenant } from '@fastify-tenancy/core'
import { TenantScope } from '@fastify-tenancy/core/scope'
import { sql } from 'kysely'
import pg from 'pg'
import t, { type Test } from 'tap'

import { handle, open, provision, type Handle, type Provisioned } from '../support/tenants.ts'
import { until } from '../support/until.ts'

const everything = 'acme:1'

const on = await provision(t)

/** One connection for all tenants, so that the next tenant meets the traces of the first. */
async function oneConnection (t: Test, options = {}): Promise<{ on: Provisioned; a: Handle; b: Handle }> {
  await on.admin('truncate notes restart identity')
  const database = await open(t, on, { pool: { max: 1 }, ...options })
  const a = handle(t, database, 'acme')
  const b = handle(t, database, 'globex')
  await a.db.insertInto('notes').values({ body: everything }).execute()
  await b.db.insertInto('notes').values({ body: 'globex:1' }).execute()
  return { on, a, b }
}

const backend = async ({ db }: Handle): Promise<unknown> =>
  (await sql<{ pid: number }>`select pg_backend_pid() as pid`.execute(db)).rows[0]?.pid

const settings = async ({ db }: Handle): Promise<unknown> =>
  (await sql`select current_setting('TimeZone') as tz, current_setting('default_transaction_read_only') as
    ro, current_setting('lock_timeout') as lock,
  current_setting('work_mem') as mem, current_setting('tenancy.tenant') as tenant,
    current_setting('search_path') as path`
    .execute(db)).rows[0]

const bodies = async ({ db }: Handle): Promise<string[]> =>
  (await db.selectFrom('notes').select('body').orderBy('id').execute()).map(({ body }) => body)

t.test('POOL-01 after an error the next tenant sees its own rows on the same connection', async t => {
  const { a, b } = await oneConnection(t)
  const pid = await backend(a)
  await t.rejects(a.db.insertInto('notes').values({ id: 1, body: 'acme:dup' }).execute(), { code: '23505' })
  await t.rejects(sql`select 1 / 0`.execute(a.db), { code: '22012' })
  await t.rejects(sql`select nothing from notes`.execute(a.db), { code: '42703' })
  t.same(await bodies(b), ['globex:1'])
  t.equal(await backend(b), pid, 'an ordinary error costs no connection')
})

t.test("POOL-02 a transaction open at its scope's end is rolled back, its connection closed", async t => {
  const { a, b } = await oneConnection(t)
  const trx = await a.db.startTransaction().execute()
  await trx.insertInto('notes').values({ body: 'acme:left' }).execute()
  a.scope.end()
  t.same(await bodies(b), ['globex:1'])
  await t.rejects(trx.insertInto('notes').values({ body: 'acme:late' }).execute(), {
    code: 'FST_TENANCY_SCOPE_CLOSED'
  })
  await t.rejects(trx.commit().execute())
})

t.test('POOL-02 a value that cannot be encoded leaves the begin of its transaction pending', async t => {
  const { a, b } = await oneConnection(t)
  const circular: Record<string, unknown> = {}
  circular.self = circular
  await t.rejects(
    a.db.transaction().execute(async trx => {
      await t.rejects(trx.insertInto('notes').values({ body: circular as never }).execute())
      await trx.insertInto('notes').values({ body: 'acme:half' }).execute()
      throw new Error('handler')
    }),
    { message: 'handler' }
  )
  t.same(await bodies(a), [everything])
  t.same(await bodies(b), ['globex:1'])
})

t.test('POOL-02 an abandoned stream ends with its scope and returns its connection', async t => {
  const { a, b } = await oneConnection(t)
  const pid = await backend(a)
  await a.db.insertInto('notes').values([{ body: 'acme:2' }, { body: 'acme:3' }]).execute()
  const rows = a.db.selectFrom('notes').select('body').orderBy('id').stream(1)[Symbol.asyncIterator]()
  t.match(await rows.next(), { value: { body: everything } })
  a.scope.end()
  t.same(await bodies(b), ['globex:1'])
  t.not(await backend(b), pid)
})

t.test('POOL-02 surplus prepared names are closed even if the next statement fails to be sent', async t => {
  const { a } = await oneConnection(t)
  const ask = (db: typeof a.db, n: number, value: unknown): Promise<unknown> =>
    sql`select ${sql.raw(String(n))} as n from notes where body = ${value}`.execute(db)
  const circular: Record<string, unknown> = {}
  circular.self = circular
  for (let n = 0; n < 250; n++) {
    await ask(a.db, n, 'x')
    await t.rejects(ask(a.db, n, circular))
  }
  for (let n = 0; n < 100; n++) await a.db.transaction().execute(trx => ask(trx, n, 'x'))
})

t.test("POOL-02 on a caller's pool, a query that was not awaited gives no reply to ours", async t => {
  await on.admin('truncate notes')
  const pool = new pg.Pool({ connectionString: on.url, max: 1 })
  t.teardown(() => pool.end())
  const database = await open(t, on, { url: pool })
  const { db } = handle(t, database, 'acme')
  const careless = await pool.connect()
  const slow = careless.query('select pg_sleep(0.1)')
  careless.release()
  t.match(await db.insertInto('notes').values({ body: 'acme:after' }).returning('body').execute(), [{
    body: 'acme:after'
  }])
  await slow
})

t.test('POOL-02 a handler that throws inside a transaction leaves nothing', async t => {
  const { a, b } = await oneConnection(t)
  await t.rejects(
    a.db.transaction().execute(async trx => {
      await trx.insertInto('notes').values({ body: 'acme:thrown' }).execute()
      throw new Error('handler')
    }),
    { message: 'handler' }
  )
  t.same(await bodies(b), ['globex:1'])
  t.same(await bodies(a), [everything])
})

t.test('POOL-05 a statement timeout and a lock timeout leave a clean connection', async t => {
  const { on, a, b } = await oneConnection(t, { statementTimeout: '100ms', lockTimeout: '50ms' })
  await t.rejects(sql`select pg_sleep(5)`.execute(a.db), { code: '57014' })
  t.same(await bodies(b), ['globex:1'])
  await on.admin('begin')
  await on.admin('select * from notes for update')
  await t.rejects(a.db.updateTable('notes').set({ n: 1 }).execute(), { code: '55P03' })
  await on.admin('rollback')
  t.same(await bodies(b), ['globex:1'])
})

t.test('POOL-05 the server ends an idle transaction, and the next tenant is served', async t => {
  const { a, b } = await oneConnection(t, { idleInTransaction: '50ms' })
  const trx = await a.db.startTransaction().execute()
  await trx.insertInto('notes').values({ body: 'acme:idle' }).execute()
  await until(async () =>
    (await on.admin(
      "select from pg_stat_activity where datname = current_database() and state = 'idle in transaction'"
    )).length === 0
  )
  await t.rejects(trx.selectFrom('notes').selectAll().execute(), { code: '25P03' })
  await trx.rollback().execute()
  t.same(await bodies(b), ['globex:1'])
  t.same(await bodies(a), [everything])
})

t.test("POOL-06 an aborted scope's query is cancelled, and the next tenant is served", async t => {
  const { on, a, b } = await oneConnection(t)
  const failed = t.rejects(sql`select pg_sleep(20)`.execute(a.db), {
    code: 'FST_TENANCY_DATABASE_UNAVAILABLE'
  })
  const running = (): Promise<unknown[]> =>
    on.admin(
      "select from pg_stat_activity where datname = current_database() and query like '%pg_sleep%' " +
        "and state = 'active' and pid <> pg_backend_pid()"
    )
  await until(async () => (await running()).length === 1)
  a.scope.abort()
  await failed
  t.same(await bodies(b), ['globex:1'])
  await until(async () => (await running()).length === 0)
})

t.test('POOL-07 a backend that is killed during a statement fails that statement only', async t => {
  const { on, a, b } = await oneConnection(t)
  const kill = (): Promise<unknown> =>
    on.admin(
      'select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() ' +
        'and pid <> pg_backend_pid()'
    )
  const failed = t.rejects(sql`select pg_sleep(20)`.execute(a.db), {
    code: 'FST_TENANCY_DATABASE_UNAVAILABLE',
    statusCode: 503
  })
  await until(async () =>
    (await on.admin(
      "select from pg_stat_activity where datname = current_database() and query like '%pg_sleep%' " +
        'and pid <> pg_backend_pid()'
    )).length === 1
  )
  await kill()
  await failed
  t.same(await bodies(b), ['globex:1'])

  await t.rejects(
    a.db.transaction().execute(async trx => {
      await trx.insertInto('notes').values({ body: 'acme:killed' }).execute()
      await kill()
      await trx.insertInto('notes').values({ body: 'acme:killed too' }).execute()
    }),
    { code: 'FST_TENANCY_DATABASE_UNAVAILABLE' }
  )
  t.same(await bodies(a), [everything], 'nothing of the transaction is left')
})

t.test('POOL-08 a backend that is killed while it is idle is replaced', async t => {
  const { on, a } = await oneConnection(t)
  await on.admin(
    'select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and ' +
      'pid <> pg_backend_pid()'
  )
  // The first statement may meet the dying connection; the process lives and the pool recovers.
  await until(() =>
    bodies(a).then(rows => rows.length === 1, (error: { statusCode: number }) => {
      if (error.statusCode !== 503) throw error
    })
  )
})

t.test('POOL-09 a hundred contexts that fail leak no connection', async t => {
  const { on, a } = await oneConnection(t)
  const role = (await on.admin<{ rolname: string }>(
    "select rolname from pg_roles where rolname = 'tenancy_app_' || substr(md5(current_database()), 1, 8)"
  ))[0]?.rolname ?? ''
  const login = decodeURIComponent(new URL(on.url).username)
  await on.admin(`revoke "${role}" from "${login}"`)
  for (let i = 0; i < 100; i++) await t.rejects(bodies(a), { code: '42501' })
  await on.admin(`grant "${role}" to "${login}"`)
  t.same(await bodies(a), [everything])
})

t.test('POOL-10 a statement of a transaction that was not awaited runs inside it or not at all', async t => {
  const { a, b } = await oneConnection(t)
  let loose: Promise<unknown> = Promise.resolve()
  await a.db.transaction().execute(async trx => {
    await trx.insertInto('notes').values({ body: 'acme:2' }).execute()
    loose = trx.insertInto('notes').values({ body: 'acme:loose' }).execute().catch(() => {})
  })
  await loose
  t.same(await bodies(b), ['globex:1'])
  t.ok((await bodies(a)).every(body => body.startsWith('acme:')))
})

t.test('POOL-11 INJ-22 transaction control, DO and CALL are refused before they are sent', async t => {
  const { on, a, b } = await oneConnection(t)
  await on.admin('create or replace procedure escape() language plpgsql as $$ begin commit; end $$')
  await on.admin('grant execute on procedure escape() to public')
  for (
    const text of ['commit', 'rollback', 'begin', 'commit and chain',
      'do $$ begin commit; reset role; end $$', 'call escape()', 'set role none', 'reset role', 'discard all']
  ) {
    await t.rejects(sql.raw(text).execute(a.db), { code: 'FST_TENANCY_QUERY_REFUSED' }, text)
    await t.rejects(
      a.db.transaction().execute(async trx => {
        await trx.insertInto('notes').values({ body: 'acme:x' }).execute()
        await sql.raw(text).execute(trx)
      }),
      { code: 'FST_TENANCY_QUERY_REFUSED' },
      text
    )
  }
  t.same(await bodies(a), [everything])
  t.same(await bodies(b), ['globex:1'])
})

t.test('POOL-12 a handle kept past the end of its scope is closed', async t => {
  const { a } = await oneConnection(t)
  a.scope.end()
  await t.rejects(bodies(a), { code: 'FST_TENANCY_SCOPE_CLOSED' })
  await t.rejects(a.db.transaction().execute(async () => {}), { code: 'FST_TENANCY_SCOPE_CLOSED' })
})

t.test('POOL-14 a tenant is kept through savepoints, their failures and controlled transactions', async t => {
  const { a, b } = await oneConnection(t)
  const trx = await a.db.startTransaction().execute()
  await trx.insertInto('notes').values({ body: 'acme:2' }).execute()
  const saved = await trx.savepoint('odd "name').execute()
  await t.rejects(saved.insertInto('notes').values({ id: 1, body: 'acme:dup' }).execute(), { code: '23505' })
  const back = await saved.rollbackToSavepoint('odd "name').execute()
  await back.insertInto('notes').values({ body: 'acme:3' }).execute()
  t.same((await back.selectFrom('notes').select('body').execute()).map(({ body }) => body), [everything,
    'acme:2', 'acme:3'])
  await back.commit().execute()
  t.same(await bodies(a), [everything, 'acme:2', 'acme:3'])
  t.same(await bodies(b), ['globex:1'])
})

t.test('POOL-15 fifty statements at once on one connection all belong to their tenant', async t => {
  const { a, b } = await oneConnection(t)
  const rows = await Promise.all(Array.from({ length: 50 }, (_, i) => bodies(i % 2 ? a : b)))
  t.ok(rows.every(([body], i) => body === (i % 2 ? everything : 'globex:1')))
})

t.test('POOL-19 one prepared text gives each tenant its own rows, twenty times in turn', async t => {
  const { on, a, b } = await oneConnection(t)
  await on.admin(
    'create view own with (security_invoker) as select * from notes; ' +
      "create function own_bodies() returns setof text language sql stable as 'select body from " +
      "notes'"
  )
  await on.admin(
    "do $$ begin execute format('grant select on own to %I', 'tenancy_app_' || " +
      'substr(md5(current_database()), 1, 8)); end $$'
  )
  for (let i = 0; i < 10; i++) {
    for (const [{ db }, own] of [[a, everything], [b, 'globex:1']] as const) {
      t.same(await db.selectFrom('notes').select('body').where('n', '=', 0).execute(), [{ body: own }])
      t.same((await sql`select body from own where n = ${0}`.execute(db)).rows, [{ body: own }])
      t.same(
        (await sql`with x as (select body from notes where n = ${0}) select body from x`.execute(db)).rows,
        [{ body: own }]
      )
      t.same((await sql`select own_bodies() as body where ${0}::int = 0`.execute(db)).rows, [{ body: own }])
    }
  }
})

t.test('INJ-13 INJ-23 what a statement changes in its session does not meet the next tenant', async t => {
  const { on, a, b } = await oneConnection(t)
  const clean = await settings(b)
  for (
    const [name, value] of [['TimeZone', 'Asia/Tokyo'], ['default_transaction_read_only', 'on'], [
      'lock_timeout',
      '1'
    ], ['work_mem', '64kB'], ['tenancy.tenant', 'acme'], ['role', 'none'], ['search_path',
      'pg_temp']] as const
  ) {
    await sql`select set_config(${name}, ${value}, false)`.execute(a.db).catch(() => {})
    t.same(await settings(b), clean, name)
    t.same(await bodies(b), ['globex:1'], name)
  }
  // By a name that no reader of the text finds.
  await sql.raw("select query_to_xml('select pg_advisory' || '_lock(42)', true, true, '')").execute(a.db)
  await until(async () =>
    (await on.admin(
      "select from pg_locks where locktype = 'advisory' and database = (select oid from " +
        'pg_database where datname = current_database())'
    )).length === 0
  )
  await b.db.insertInto('notes').values({ body: 'globex:2' }).execute()
})

t.test('INJ-21 a setting that one statement of a transaction changed does not serve the next', async t => {
  const { a } = await oneConnection(t)
  for (
    const [name, value] of [['tenancy.tenant', 'globex'], ['role', 'none'], ['row_security', 'off'], [
      'search_path',
      'pg_catalog'
    ]] as const
  ) {
    await a.db.transaction().execute(async trx => {
      await sql`select set_config(${name}, ${value}, true)`.execute(trx).catch(() => {})
      t.same(await trx.selectFrom('notes').select('body').execute(), [{ body: everything }], name)
    }).catch((error: unknown) => {
      t.equal((error as Error).message, 'Transaction was rolled back instead of committed', name)
    })
  }
})

t.test('control: on a plain pool the injected statement reaches the next tenant', async t => {
  const pool = new pg.Pool({ connectionString: on.superUrl, max: 1 })
  t.teardown(() => pool.end())
  await pool.query("select set_config('TimeZone', 'Asia/Tokyo', false)")
  t.equal((await pool.query("select current_setting('TimeZone') as tz")).rows[0].tz, 'Asia/Tokyo')
})

t.test('a prepared statement survives a change of its table', async t => {
  const { on, a } = await oneConnection(t)
  const read = (): Promise<object[]> => a.db.selectFrom('notes').selectAll().where('n', '=', 0).execute()
  await read()
  await on.admin("alter table notes add column extra text default 'new'")
  t.match(await read(), [{ extra: 'new' }])
  await on.admin(
    'select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and ' +
      'pid <> pg_backend_pid()'
  )
  await until(() => read().then(() => true, () => false))
})

t.test('a value or text that cannot be sent fails before a byte is written', async t => {
  const { a, b } = await oneConnection(t)
  await t.rejects(sql.raw('select 1 \0 drop').execute(a.db), { message: /NUL/ })
  const circular: Record<string, unknown> = {}
  circular.self = circular
  await t.rejects(sql`select ${circular}::text`.execute(a.db), TypeError)
  await t.rejects(sql`select ${sql.join(Array.from({ length: 65_536 }, () => 1))}`.execute(a.db), {
    message: /at most 65535 parameters/
  })
  t.same(await bodies(b), ['globex:1'])
  t.same(await bodies(a), [everything])
})

t.test('rows can be read in portions, and a reader that stops early leaves a clean connection', async t => {
  const { a, b } = await oneConnection(t)
  await a.db.insertInto('notes').values(Array.from({ length: 25 }, (_, i) => ({ body: `acme:s${i}` })))
    .execute()
  const read: string[] = []
  for await (const { body } of a.db.selectFrom('notes').select('body').orderBy('id').stream(10))
    read.push(body)
  t.equal(read.length, 26)
  for await (const { body } of a.db.selectFrom('notes').select('body').stream(3)) {
    t.ok(body.startsWith('acme:'))
    break
  }
  t.same(await bodies(b), ['globex:1'])
  await t.rejects(async () => {
    for await (
      const row of a.db.selectFrom('notes').select(sql`10 / (5 - id)`.as('x')).orderBy('id').stream(2)
    ) t.ok(row)
  }, { code: '22012' })
  t.same(await bodies(b), ['globex:1'])
})

t.test('a handle cannot be destroyed by its user', async t => {
  const { a } = await oneConnection(t)
  await t.rejects(a.db.destroy(), { message: /cannot be destroyed/ })
  t.same(await bodies(a), [everything])
})

for (const inflightQueryAbortStrategy of ['ignore query', 'cancel query', 'kill session'] as const) {
  t.test(`POOL-06 abort option '${inflightQueryAbortStrategy}': no later owner is cancelled`, async t => {
    const { on, a, b } = await oneConnection(t)
    for (let round = 0; round < 10; round++) {
      const abort = new AbortController()
      const aborted = t.rejects(
        sql`select pg_sleep(0.2)`.execute(a.db, { signal: abort.signal, inflightQueryAbortStrategy })
      )
      await until(async () =>
        (await on.admin(
          'select from pg_stat_activity where datname = current_database() and query like ' +
            "'%pg_sleep%' and state = 'active' and pid <> pg_backend_pid()"
        )).length === 1
      )
      abort.abort()
      await aborted
      t.same(await bodies(b), ['globex:1'])
    }
  })
}

t.test("the longest that a statement may run goes by the tenant's plan", async t => {
  const database = await open(t, on, { statementTimeout: { default: '20s', plans: { free: '100ms' } } })
  const timeout = async (plan: string): Promise<unknown> => {
    const scope = new TenantScope(toTenant({ id: `on-${plan}`, slug: `slug-${plan}`, plan }), {
      info () {},
      warn () {},
      error () {}
    })
    return (await sql<{ timeout: string }>`select current_setting('statement_timeout') as timeout`.execute(
      database.forScope(scope)
    )).rows[0]?.timeout
  }
  t.equal(await timeout('free'), '100ms')
  t.equal(await timeout('pro'), '20s')
  t.equal(await timeout('constructor'), '20s')
  await t.rejects(open(t, on, { statementTimeout: { plans: { free: '5' } } }), {
    message: /options\.database\.statementTimeout\.plans\.free must be a duration/
  })
})

t.test('long lists of ever new lengths leave nothing prepared on the connection', async t => {
  const { a, b } = await oneConnection(t)
  for (const length of [2_000, 2_001, 2_000])
    await a.db.insertInto('notes').values(Array.from({ length }, (_, at) => ({ body: `acme:${at}` })))
      .execute()
  await a.db.transaction().execute(async trx => {
    const ids = Array.from({ length: 2_500 }, (_, at) => `acme:${at}`)
    t.equal((await trx.selectFrom('notes').select('id').where('body', 'in', ids).execute()).length, 6_002)
  })
  t.same(await bodies(b), ['globex:1'])
  const { rows } = await sql<
    { longest: number }
  >`select max(length(statement)) as longest from pg_prepared_statements`.execute(a.db)
  t.ok(Number(rows[0]?.longest) < 10_000)
})

t.test('POOL-01 lastval() and currval() return values of their own transaction only', async t => {
  const { on, a, b } = await oneConnection(t)
  const drawn = async (): Promise<number> =>
    Number((await on.admin('select last_value from notes_id_seq'))[0]?.last_value)
  const questions = ['select lastval() as drawn', "select currval('notes_id_seq') as drawn",
    "select query_to_xml('select last' || 'val()', true, true, '')::text as drawn",
    'select U&"\\006castval"() as drawn']
  for (const question of questions) {
    await b.db.insertInto('notes').values({ body: 'globex:drawn' }).execute()
    await t.rejects(sql.raw(question).execute(a.db), { code: '55000' }, question)
    await b.db.insertInto('notes').values({ body: 'globex:drawn' }).execute()
    await t.rejects(
      a.db.transaction().execute(async trx => {
        await trx.selectFrom('notes').selectAll().execute()
        await sql.raw(question).execute(trx)
      }),
      { code: '55000' },
      question
    )
    await a.db.transaction().execute(async trx => {
      await trx.insertInto('notes').values({ body: 'acme:drawn' }).execute()
      t.match(
        JSON.stringify((await sql.raw(question).execute(trx)).rows),
        String(await drawn()),
        'its own it may ask for'
      )
    })
  }
})
