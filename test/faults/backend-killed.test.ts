import t from 'tap'

import { noteRoutes, suite } from '../support/suite.ts'
import { provision } from '../support/tenants.ts'
import { until } from '../support/until.ts'

t.test('POOL-07 POOL-08 a killed backend costs its request a 503, and the next gets 200', async t => {
  const on = await provision(t)
  const app = await suite(t, on, { database: { pool: { max: 1 } } })
  const kill = (): Promise<unknown> =>
    on.admin(
      'select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() ' +
        "and usename like '%\\_app'"
    )
  noteRoutes(app, kill)
  const send = (
    method: 'GET' | 'POST',
    url: string
  ): Promise<{ statusCode: number; body: string; headers: Record<string, unknown> }> =>
    app.inject({ method, url, headers: { host: 'acme.example.com' } })

  t.equal((await send('GET', '/notes')).statusCode, 200)

  await t.test('between two requests', async t => {
    await kill()
    await until(async () =>
      (await on.admin(
        "select from pg_stat_activity where datname = current_database() and usename like '%\\_app'"
      )).length === 0
    )
    t.equal((await send('GET', '/notes')).statusCode, 200)
  })

  await t.test('during a statement', async t => {
    const inFlight = send('GET', '/sleep')
    await until(async () =>
      (await on.admin(
        "select from pg_stat_activity where datname = current_database() and query like '%pg_sleep%' " +
          "and usename like '%\\_app'"
      )).length === 1
    )
    await kill()
    const { statusCode, body, headers } = await inFlight
    t.equal(statusCode, 503)
    t.same(JSON.parse(body), {
      statusCode: 503,
      code: 'FST_TENANCY_DATABASE_UNAVAILABLE',
      error: 'Service Unavailable',
      message: 'The database cannot be reached at the moment'
    })
    t.equal(headers['retry-after'], '1')
    t.equal((await send('GET', '/notes')).statusCode, 200)
  })

  await t.test('during a transaction', async t => {
    t.equal((await send('POST', '/transaction')).statusCode, 503)
    const { statusCode, body } = await send('GET', '/notes')
    t.equal(statusCode, 200)
    t.same(JSON.parse(body), [], 'nothing of it is left')
  })
})

t.test("PGF-07 a client sees nothing of the database's text", async t => {
  const on = await provision(t)
  const lines: string[] = []
  const app = await suite(t, on, {
    logStream: {
      write: line => {
        lines.push(line)
      }
    }
  })
  const { sql } = await import('kysely')
  const { dbOf } = await import('../support/suite.ts')
  const failures: Record<string, [number, (request: { db: unknown }) => Promise<unknown>]> = {
    '/unique': [409, async request => {
      for (let i = 0; i < 2; i++)
        await dbOf(request).insertInto('notes').values({ id: 7, body: 'a value' }).execute()
    }],
    '/null': [422, request => sql`insert into notes (body) values (${null})`.execute(dbOf(request))],
    '/malformed': [400, request => sql`select ${'abc'}::text::int`.execute(dbOf(request))],
    '/timeout': [503, request => sql`select pg_sleep(1)`.execute(dbOf(request))],
    '/unknown': [500, request => sql`select * from unlisted`.execute(dbOf(request))],
    '/syntax': [500, request => sql`select from where`.execute(dbOf(request))]
  }
  for (const [url, [, work]] of Object.entries(failures))
    app.get(url, { config: { tenancy: { statementTimeout: '100ms' } } }, work)
  app.setNotFoundHandler(async request => sql`select * from unlisted`.execute(dbOf(request)))
  // This hook runs again, and fails again, for the reply to its own error.
  app.get('/on-send', {
    onSend: async request => {
      await sql`select * from unlisted`.execute(dbOf(request))
    }
  }, async () => ({}))
  for (
    const [url, [status]] of Object.entries({
      ...failures,
      '/no/such/route': [500] as [number],
      '/on-send': [500] as [number]
    })
  ) {
    const { statusCode, body, headers } = await app.inject({ url, headers: { host: 'acme.example.com' } })
    t.equal(statusCode, status, url)
    t.notMatch(body, /notes|unlisted|value "|abc|_pkey|violates|syntax|column|pkey|canceling/i, url)
    t.equal(headers['retry-after'], status === 503 ? '1' : undefined)
  }
  t.match(lines.join(''), /notes_pkey/, 'the log has the original')
  t.match(lines.join(''), /bypassed the error handler/)
})

t.test("an application's own error handler gets the original errors", async t => {
  const on = await provision(t)
  const app = await suite(t, on)
  const { toHttpError } = await import('fastify-tenancy')
  const { dbOf } = await import('../support/suite.ts')
  app.setErrorHandler((error: Error & { code?: string }, _request, reply) =>
    reply.code(418).send({
      code: error.code,
      mapped: (toHttpError(error) as { statusCode: number }).statusCode
    })
  )
  app.get('/', async request => {
    for (let i = 0; i < 2; i++) await dbOf(request).insertInto('notes').values({ id: 7, body: 'x' }).execute()
  })
  const { statusCode, body } = await app.inject({ url: '/', headers: { host: 'acme.example.com' } })
  t.equal(statusCode, 418)
  t.same(JSON.parse(body), { code: '23505', mapped: 409 })
})
