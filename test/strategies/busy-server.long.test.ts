// More tenants than the server accepts connections, over HTTP.
import { toTenant, memoryRegistry } from '@fastify-tenancy/core'
import type { FastifyInstance } from 'fastify'
import { sql } from 'kysely'
import t, { type Test } from 'tap'

import { startPostgres } from '../support/services.ts'
import { connect } from '../support/sql.ts'
import { dbOf, suite } from '../support/suite.ts'
import { until } from '../support/until.ts'

const tenants = Array.from({ length: 150 }, (_, n) => toTenant({ id: `t${n}`, slug: `tenant-${n}` }))
const server = await startPostgres('-c', 'max_connections=100')
t.teardown(() => server.stop())
const admin = await connect(t, server.url)
await admin.query("create role app login password 'secret'")
const url = server.url.replace('postgres:postgres@', 'app:secret@')

interface Answers {
  readonly statuses: readonly number[]
  readonly retryAfter: readonly unknown[]
  /** How often the server refused a connection. */
  readonly refused: number
  /** Number of replies that another tenant's connection gave. */
  readonly wrong: number
}

/** Sends requests of all tenants at once. Each holds a connection for a while. */
async function everybody (
  t: Test,
  budget: number,
  maxWait: string
): Promise<Answers & { app: FastifyInstance }> {
  const app = await suite(t, {
    superUrl: server.url,
    url,
    registryUrl: url,
    systemUrl: url,
    ownerUrl: url,
    secret: undefined,
    tables: { tenant: [], shared: [] },
    admin: async () => []
  }, {
    isolation: 'database',
    registry: memoryRegistry(tenants),
    database: {
      budget,
      fairness: { maxWait },
      tenants: {
        maxPools: 150,
        pool: { max: 1 },
        url: ({ id }: { id: string }) => `${url}?options=${encodeURIComponent(`-c app.home=${id}`)}`
      }
    }
  })
  let refused = 0
  app.addHook('onError', async (_request, _reply, error) => {
    if ((error.cause as { code?: string } | undefined)?.code === '53300') refused++
  })
  app.get(
    '/',
    async request =>
      (await sql<{ home: string }>`select current_setting('app.home') as home, pg_sleep(0.5)`.execute(
        dbOf(request)
      )).rows[0]?.home
  )
  await app.ready()
  const answers = await Promise.all(
    tenants.map(async ({ slug, id }) => ({
      id,
      ...await app.inject({ url: '/', headers: { host: `${slug}.example.com` } })
    }))
  )
  return {
    app,
    refused,
    statuses: answers.map(({ statusCode }) => statusCode),
    retryAfter: answers.filter(({ statusCode }) => statusCode === 503).map(({ headers }) =>
      headers['retry-after']
    ),
    wrong: answers.filter(({ statusCode, body, id }) => statusCode === 200 && body !== id).length
  }
}

t.test('DBT-05 150 tenants within a budget that the server allows are all served', async t => {
  const { statuses, refused, wrong } = await everybody(t, 80, '60s')
  t.same(statuses, statuses.map(() => 200))
  t.equal(refused, 0)
  t.equal(wrong, 0)
})

t.test("DBT-05 150 tenants above the server's limit: some 503 with retry-after, never a 500", async t => {
  const { app, statuses, retryAfter, refused, wrong } = await everybody(t, 200, '2s')
  const busy = statuses.filter(status => status === 503).length
  t.same(statuses.filter(status => status !== 200 && status !== 503), [])
  t.ok(busy >= 40, `${busy} were told to come back`)
  t.same(retryAfter, retryAfter.map(() => '1'))
  t.ok(refused > 0 && refused <= busy, `the server refused ${refused} connections`)
  t.equal(wrong, 0)
  // Connections that are idle now are closed for returning tenants.
  for (const { slug } of tenants.filter((_, n) => statuses[n] === 503).slice(0, 5)) {
    await until(async () =>
      (await app.inject({ url: '/', headers: { host: `${slug}.example.com` } })).statusCode === 200
    )
  }
})
