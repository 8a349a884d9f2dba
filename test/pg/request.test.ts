// request.tenancy.pg and the pg of a run, in a whole application.
import { drizzle } from 'drizzle-orm/node-postgres'
import { sql } from 'drizzle-orm'
import type pg from 'pg'
import t from 'tap'

import { dbOf, suite } from '../support/suite.ts'
import { provision } from '../support/tenants.ts'

const host = (slug: string): Record<string, string> => ({ host: `${slug}.example.com` })

t.test('PG-13 request.tenancy.pg and run give the tenant of the request or run, and end with it', async t => {
  const on = await provision(t)
  const app = await suite(t, on, { database: { pool: { max: 2 } } })
  let kept: pg.Pool | undefined
  app.get('/notes', async ({ tenancy }) => {
    kept = tenancy.pg
    t.equal(tenancy.pg, kept, 'the same at each use')
    return (await kept.query('select body from notes order by id')).rows
  })
  app.get('/off', { config: { tenancy: 'off' } }, async ({ tenancy }) => tenancy.pg.query('select 1'))
  for (const slug of ['acme', 'globex']) {
    await app.tenancy.run({ slug }, async ({ pg, db }) => {
      await pg.query('insert into notes (body) values ($1)', [slug])
      t.equal((await dbOf({ db }).selectFrom('notes').selectAll().execute()).length, 1)
    })
  }
  t.equal((await app.inject({ url: '/notes', headers: host('globex') })).body, '[{"body":"globex"}]')
  await t.rejects(async () => kept?.query('select 1'), { code: 'FST_TENANCY_SCOPE_CLOSED' })
  t.match((await app.inject({ url: '/off', headers: host('acme') })).json(), {
    code: 'FST_TENANCY_CONTEXT_MISSING'
  })
  t.equal((await app.inject({ url: '/notes', headers: host('unknown') })).statusCode, 404)
  await t.rejects(
    app.tenancy.run({ slug: 'acme' }, async ({ pg }) => {
      await pg.query("insert into notes (body) values ('undone')")
      throw new Error('no')
    }, { transaction: true }),
    /no/
  )
  t.equal((await app.inject({ url: '/notes', headers: host('acme') })).body, '[{"body":"acme"}]')
})

t.test("PG-14 pg and db share a request's transaction, in which begin is a savepoint", async t => {
  const on = await provision(t)
  const app = await suite(t, on, { database: { pool: { max: 2 } } })
  app.post<{ Querystring: { fail?: string } }>(
    '/',
    { config: { tenancy: { transaction: true } } },
    async (request, reply) => {
      const { pg } = request.tenancy
      await dbOf(request).insertInto('notes').values({ body: 'db' }).execute()
      t.equal((await pg.query('select from notes')).rowCount, 1, 'what db wrote')
      const drizzled = drizzle({ client: pg })
      await drizzled.transaction(tx => tx.execute(sql`insert into notes (body) values ('kept')`))
      await drizzled.transaction(async tx => {
        await tx.execute(sql`insert into notes (body) values ('undone')`)
        throw new Error('undo')
      }).catch(() => {})
      const client = await pg.connect()
      await client.query('begin')
      await client.query("insert into notes (body) values ('left open')")
      client.release()
      await t.rejects(pg.query('commit and chain'), { code: 'FST_TENANCY_QUERY_REFUSED' })
      return reply.code(request.query.fail === undefined ? 200 : 422).send({})
    }
  )
  t.equal((await app.inject({ method: 'POST', url: '/?fail=1', headers: host('acme') })).statusCode, 422)
  t.same(await on.admin('select body from notes'), [], 'rolled back with its request')
  t.equal((await app.inject({ method: 'POST', url: '/', headers: host('acme') })).statusCode, 200)
  t.same(await on.admin('select body from notes order by id'), [{ body: 'db' }, { body: 'kept' }])
})

t.test('PG-15 fairness counts pg and db together: beyond its share a tenant gets busy', async t => {
  const on = await provision(t)
  const app = await suite(t, on, {
    database: { pool: { max: 2 }, fairness: { maxWaiting: 1, maxWait: '100ms' } }
  })
  await app.tenancy.run({ slug: 'acme' }, async ({ pg }) => {
    const client = await pg.connect()
    const waiting = pg.connect()
    await t.rejects(pg.query('select 1'), { code: 'FST_TENANCY_DATABASE_BUSY' }, 'its line is full')
    await t.rejects(waiting, { code: 'FST_TENANCY_DATABASE_BUSY' })
    await app.tenancy.run({ slug: 'globex' }, async work => {
      t.same((await work.pg.query('select 1 as one')).rows, [{ one: 1 }], 'another tenant is served')
    })
    client.release()
  })
})
