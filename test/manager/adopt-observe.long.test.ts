// Adoption: reports by route and shape which queries of old and new code fail, or would fail under
// `enforce`.
import { toTenant, memoryRegistry } from '@fastify-tenancy/core'
import type { ObservedQuery } from '@fastify-tenancy/database'
import { createManager } from '@fastify-tenancy/manager'
import Fastify, { type FastifyInstance } from 'fastify'
import tenancy from 'fastify-tenancy'
import { sql, type Kysely } from 'kysely'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import pg from 'pg'
import t, { type Test } from 'tap'

import { fingerprint } from '../../packages/database/src/observe/fingerprint.ts'
import { observePool } from '../../packages/database/src/observe/observe-pool.ts'
import { freshDatabase, serverUrl } from '../support/fresh.ts'
import { keepOthersOut } from '../support/keep-others-out.ts'
import { connect, loginOf, loginUrl } from '../support/sql.ts'

const hosts = { host: 'acme.example.com' }

interface App {
  readonly app: FastifyInstance
  readonly pool: pg.Pool
  readonly lines: { readonly msg: string; readonly query?: ObservedQuery }[]
}

/** A database under observation, and an application on it that runs old and new code. */
async function adopted (t: Test): Promise<App> {
  const url = await freshDatabase(t)
  const legacy = loginUrl(url, 'legacy')
  const { user, password } = loginOf(legacy)
  const admin = await connect(t, url)
  await admin.query(
    `create role "${user}" login password '${password}'; grant all on schema public to "${user}"`
  )
  await keepOthersOut(admin, url, user)
  await (await connect(t, legacy)).query(
    "create table notes (id serial primary key, body text); insert into notes (body) values ('old'); " +
      'create table other (v text); create view board as select body from notes; create view top_board as ' +
      'select * from board'
  )
  const tables = { tenant: ['notes'] }
  const manager = createManager({
    database: { url: loginUrl(url, 'app'), ownerUrl: url },
    tables,
    adoption: { backfill: { notes: { value: 'id-acme' } }, type: 'text', legacy: { [user]: '2999-12-31' } }
  })
  t.teardown(() => manager.close())
  await manager.init()
  await keepOthersOut(admin, url, loginOf(loginUrl(url, 'app')).user)
  await manager.protect({ stage: 'prepare' })
  await manager.protect({ stage: 'observe' })
  const pool = new pg.Pool({ connectionString: legacy, max: 1 })
  t.teardown(() => pool.end())
  const lines: App['lines'] = []
  const app = Fastify({
    logger: {
      level: 'warn',
      stream: {
        write (line: string) {
          lines.push(JSON.parse(line))
        }
      }
    }
  })
  t.teardown(() => app.close())
  await app.register(tenancy, {
    baseDomain: 'example.com',
    database: { url: loginUrl(url, 'app'), observe: [pool] },
    tables,
    registry: memoryRegistry([toTenant({ id: 'id-acme', slug: 'acme' })]),
    rateLimit: false
  })
  return { app, pool, lines }
}

function db (
  request: { db: unknown }
): Kysely<{ notes: { body: string; tenant_id: string }; other: { v: string } }> {
  return request.db as never
}

t.test('a route that reaches a table through views is reported, too', async t => {
  const { app, pool } = await adopted(t)
  app.get('/board', async () => (await pool.query('select body from board')).rows)
  app.get('/top', async () => (await pool.query('select body from top_board')).rows)
  app.get('/none', async () => (await pool.query('select v from other')).rows)
  for (const url of ['/board', '/top', '/none'])
    t.equal((await app.inject({ url, headers: hosts })).statusCode, 200)
  t.same(app.tenantDatabase.observed.map(({ route }) => route).toSorted(), ['GET /board', 'GET /top'])
})

t.test('old and refused queries are reported once by route and shape', async t => {
  const { app, pool, lines } = await adopted(t)
  app.get(
    '/old/:id',
    async () =>
      (await pool.query("select body from notes where id = $1 and body <> 'secret' and id in (1, 2, 3)", [1]))
        .rows
  )
  app.get('/client', async () => {
    const client = await pool.connect()
    try {
      await client.query('select 1')
      return (await client.query({ text: 'select body from notes' })).rows
    } finally {
      client.release()
    }
  })
  app.get('/new', async request => db(request).selectFrom('notes').select('body').execute())
  app.get('/other', async request => db(request).selectFrom('other').selectAll().execute())
  app.get(
    '/forged',
    async request => db(request).insertInto('notes').values({ body: 'x', tenant_id: 'globex' }).execute()
  )
  app.get('/ddl', async request => sql`create table x ()`.execute(db(request)))
  app.get(
    '/off',
    { config: { tenancy: 'off' } },
    async () => (await pool.query('delete from notes where false')).rowCount
  )
  const heard: unknown[] = []
  const listen = (query: unknown): void => {
    heard.push(query)
  }
  subscribe('fastify-tenancy:observed-query', listen)
  t.teardown(() => unsubscribe('fastify-tenancy:observed-query', listen))

  // All requests share one connection, so that a queue that mixed up their routes would be seen.
  const get = async (url: string): Promise<number> => (await app.inject({ url, headers: hosts })).statusCode
  t.same(
    await Promise.all(['/old/1', '/old/2', '/client', '/new', '/off', '/old/3', '/client'].map(get)),
    Array(7).fill(200)
  )
  t.same(await Promise.all(['/other', '/forged', '/ddl'].map(get)), [500, 500, 500])
  const expected = [
    {
      route: 'GET /old/:id',
      text: 'select body from notes where id = ? and body <> ? and id in (?)',
      code: '42501',
      by: 'old',
      count: 3
    },
    { route: 'GET /client', text: 'select body from notes', code: '42501', by: 'old', count: 2 },
    { route: 'GET /ddl', text: 'create table x ()', code: 'FST_TENANCY_QUERY_REFUSED', by: 'new', count: 1 },
    {
      route: 'GET /forged',
      text: 'insert into "notes" ("body", "tenant_id") values (?)',
      code: '42501',
      by: 'new',
      count: 1
    },
    { route: 'GET /off', text: 'delete from notes where false', code: '42501', by: 'old', count: 1 },
    { route: 'GET /other', text: 'select * from "other"', code: '42501', by: 'new', count: 1 }
  ]
  const seen = app.tenantDatabase.observed.map(({ fingerprint: id, ...query }) => {
    t.equal(id, fingerprint(query.text).id)
    return query
  })
  t.same(seen.toSorted((a, b) => b.count - a.count || (String(a.route) < String(b.route) ? -1 : 1)), expected)
  const told = lines.filter(({ query }) => query !== undefined)
  t.equal(told.length, expected.length, 'each once in the log')
  for (const { msg, query } of told)
    t.equal(
      msg,
      query?.by === 'old'
        ? 'tenancy: a query of the old login, which will break'
        : 'tenancy: a query was refused'
    )
  t.equal(heard.length, 9, 'and each time on the channel')
  t.notOk(JSON.stringify([told, heard]).includes('secret'), 'no value of a query is kept')

  await t.test('the pool is as it was once the application has closed', async t => {
    await app.close()
    const count = app.tenantDatabase.observed.length
    await pool.query('select body from notes limit 1')
    t.equal(app.tenantDatabase.observed.length, count)
    t.equal(pool.query, pg.Pool.prototype.query)
  })
})

t.test('an observed pool answers as ever: promises, callbacks, errors, transactions', async t => {
  const pool = new pg.Pool({ connectionString: serverUrl(), max: 1 })
  t.teardown(() => pool.end())
  const heard: string[] = []
  const end = observePool(pool, text => {
    heard.push(text)
    throw new Error('a listener that fails fails nothing')
  })
  t.same((await pool.query('select 1 as one')).rows, [{ one: 1 }])
  await new Promise<void>((resolve, reject) => {
    pool.query('select 2 as two', (error: Error | undefined, result: pg.QueryResult) => {
      if (error) return reject(error)
      t.same(result.rows, [{ two: 2 }])
      resolve()
    })
  })
  await t.rejects(pool.query('select nothing'), { code: '42703' })
  await new Promise<void>((resolve, reject) => {
    pool.connect((error, client, done) => {
      if (error || client === undefined) return reject(error)
      client.query('select 3', () => {
        done()
        resolve()
      })
    })
  })
  const client = await pool.connect()
  await client.query('begin')
  await client.query({ text: 'select $1::int', values: [4] })
  await client.query('rollback')
  client.release()
  t.same(heard, ['select 1 as one', 'select 2 as two', 'select nothing', 'select 3', 'begin',
    'select $1::int', 'rollback'])
  end()
  await pool.query('select 5')
  t.equal(heard.length, 7)
})

t.test('a fingerprint keeps the shape of a query and no values', async t => {
  const texts: [string, string][] = [
    ['select  *\nfrom notes -- all\n where id=42', 'select * from notes where id=?'],
    ['select * from notes where id in ($1, $2,$3)', 'select * from notes where id in (?)'],
    ["insert into notes (a, b) values (1, 'x'), (2, 'it''s')", 'insert into notes (a, b) values (?)'],
    ["select E'a\\'b', $$c'd$$, $x$e$$f$x$, U&'g', N'h', 1.5e10", 'select ?, ?, ?, U&?, ?, ?'],
    ["select \"a'1\", t1.c2 from t1 /* 'x */ where b = '/* no comment */'",
      'select "a\'1", t1.c2 from t1 where b = ?'],
    ["select 'unfinished", 'select ?'],
    ['select naïve from "tableau 9"', 'select naïve from "tableau 9"']
  ]
  for (const [given, expected] of texts) t.equal(fingerprint(given).text, expected)
  t.equal(fingerprint('select 1').id, fingerprint('select 2').id)
  t.not(fingerprint('select a').id, fingerprint('select b').id)
  const start = performance.now()
  for (
    const hostile of ["'".repeat(100_000), '$a'.repeat(50_000), '/*'.repeat(50_000), '('.repeat(100_000),
      'a'.repeat(100_000), '"'.repeat(99_999), '(?'.repeat(50_000)]
  ) fingerprint(hostile)
  t.ok(performance.now() - start < 1_000, 'no text takes for ever')
})
