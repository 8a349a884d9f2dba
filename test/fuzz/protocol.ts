// Two tenants at work at the same time behind a proxy that disturbs the protocol.
import { createManager } from '@fastify-tenancy/manager'
import { assertOwn } from '@fastify-tenancy/testing'
import assert from 'node:assert/strict'
import fc from 'fast-check'
import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'

import { dbOf, noteRoutes, suite } from '../support/suite.ts'
import { provision, type Provisioned } from '../support/tenants.ts'
import { until } from '../support/until.ts'
import type { Fuzzer } from './fuzzer.ts'
import { protocolProxy, type Disturbance, type Flood, type Plan } from './protocol-proxy.ts'

const tenants = ['acme', 'globex'] as const

interface Work {
  readonly tenant: typeof tenants[number]
  readonly what: 'read' | 'write' | 'transaction' | 'stream' | 'fail'
}

export interface ProtocolCase {
  readonly plan: Plan
  readonly works: readonly Work[]
}

const disturbance: fc.Arbitrary<Disturbance> = fc.record({
  pieceBytes: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 40 })),
  heldTurns: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 12 })),
  cutAfterBytes: fc.oneof({ weight: 2, arbitrary: fc.constant(0) }, fc.integer({ min: 1, max: 2_500 })),
  isReset: fc.boolean()
})

const flood: fc.Arbitrary<Flood> = fc.record({
  type: fc.constantFrom('notice', 'notification', 'parameter', 'shutdown'),
  count: fc.oneof(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 50, max: 150 })),
  payload: fc.constantFrom('id-acme', 'id-globex', 'all', '', "';--")
})

const cases: fc.Arbitrary<ProtocolCase> = fc.record({
  plan: fc.record({
    toServer: disturbance,
    toClient: disturbance,
    flood: fc.option(flood, { nil: undefined })
  }),
  works: fc.array(
    fc.record({
      tenant: fc.constantFrom(...tenants),
      what: fc.constantFrom('read', 'write', 'transaction', 'stream', 'fail')
    }),
    { minLength: 1, maxLength: 8 }
  )
})

/** How many rows each tenant has before a case. */
const seeded = 3
/** After a disturbance every tenant must be served within this time. */
const recoveryMs = 20_000

/** The answer of a handler whose statement breaks a constraint. */
const failures: Readonly<Record<number, string>> = { 422: 'FST_TENANCY_DATABASE_CONSTRAINT' }
/** What a request may be answered whose connection was cut. */
const unavailable = ['FST_TENANCY_DATABASE_UNAVAILABLE', 'FST_TENANCY_REGISTRY_UNAVAILABLE',
  'FST_TENANCY_DATABASE_BUSY']

/** Makes the application that is asked, on the database behind the proxy. */
export type BuildApp = (t: Test, through: Provisioned) => Promise<FastifyInstance>

export async function openProtocol (t: Test, build: BuildApp = protocolApp): Promise<Fuzzer<ProtocolCase>> {
  const on = await provision(t)
  const manager = createManager({
    database: on.superUrl,
    tables: on.tables,
    rls: { secret: on.secret ?? '' }
  })
  t.teardown(() => manager.close())
  for (const slug of tenants) await manager.create({ slug, id: `id-${slug}` })
  const proxy = await protocolProxy(t, on.url)
  const through = (url: string): string =>
    Object.assign(new URL(url), { hostname: '127.0.0.1', port: String(proxy.port) }).href
  const app = await build(t, {
    ...on,
    url: through(on.url),
    registryUrl: through(on.registryUrl),
    superUrl: through(on.superUrl)
  })
  await app.ready()
  return {
    cases,
    async play ({ plan, works }) {
      await on.admin('delete from notes')
      await on.admin(
        "insert into notes (tenant_id, body) select 'id-' || tenant, tenant || ':' || n " +
          `from unnest(array['acme', 'globex']) tenant, generate_series(1, ${seeded}) n`
      )
      proxy.apply(plan)
      const answers = await Promise.all(works.map((work, at) => send(app, work, at)))
      proxy.apply(undefined)
      await until(
        async () =>
          (await Promise.all(tenants.map(tenant => send(app, { tenant, what: 'read' }, 0))))
            .every(({ status }) => status === 200),
        recoveryMs
      )
      const isCut = plan.toServer.cutAfterBytes > 0 || plan.toClient.cutAfterBytes > 0 ||
        plan.flood?.type === 'shutdown'
      for (const answer of answers) judge(answer, isCut)
      await judgeRows(on, answers)
    }
  }
}

const protocolApp: BuildApp = async (t, on) => {
  // Without a registry of its own it reads tenants from PostgreSQL, and listens there for changes.
  const app = await suite(t, on, {
    registry: undefined,
    database: { registryUrl: on.registryUrl, pool: { max: 2 }, fairness: { maxWait: '30s' } }
  } as never)
  noteRoutes(app)
  app.post<{ Body: { body: string } }>(
    '/pair',
    { config: { tenancy: { transaction: true } } },
    async (request, reply) => {
      const { body } = request.body
      for (let n = 0; n < 2; n++) await dbOf(request).insertInto('notes').values({ body }).execute()
      return reply.code(201).send([{ body }])
    }
  )
  app.get('/stream', async request => {
    const rows = []
    for await (const row of dbOf(request).selectFrom('notes').select('body').stream(2)) rows.push(row)
    return rows
  })
  app.get(
    '/fail',
    async request => dbOf(request).insertInto('notes').values({ body: null as never }).execute()
  )
  return app
}

interface Reply {
  readonly work: Work
  readonly mark: string
  readonly status: number
  readonly body: unknown
}

async function send (app: FastifyInstance, work: Work, at: number): Promise<Reply> {
  const { tenant, what } = work
  const mark = `${tenant}:new${at}`
  const isWrite = what === 'write' || what === 'transaction'
  const { statusCode, body } = await app.inject({
    method: isWrite ? 'POST' : 'GET',
    url: { read: '/notes', write: '/notes', transaction: '/pair', stream: '/stream', fail: '/fail' }[what],
    headers: { host: `${tenant}.example.com` },
    ...(isWrite && { payload: { body: mark } })
  })
  return { work, mark, status: statusCode, body: JSON.parse(body) }
}

function judge ({ work: { tenant, what }, status, body }: Reply, isCut: boolean): void {
  const isServed = status === 200 || status === 201
  const own = assertOwn(body, { tenant, tenants, where: what })
  if (isServed && (what === 'read' || what === 'stream')) assert.ok(own >= seeded, `${own} rows of ${tenant}`)
  if (isServed) return
  const { code } = body as { code?: string }
  if (what === 'fail' && failures[status] === code) return
  assert.ok(isCut, `${status} ${code} although no connection was cut`)
  assert.ok(status === 503 && unavailable.includes(code ?? ''), `${what}: ${status} ${JSON.stringify(body)}`)
}

/** An acknowledged write is there once, a transaction whole, and all else at most once. */
async function judgeRows (on: Provisioned, answers: readonly Reply[]): Promise<void> {
  const rows = await on.admin<{ tenant: string; body: string; count: number }>(
    'select tenant_id as tenant, body, count(*)::int as count from notes group by 1, 2'
  )
  for (const { tenant, body } of rows)
    assert.equal(tenant, `id-${body.split(':')[0]}`, `${body} is a row of ${tenant}`)
  for (const { work: { what }, mark, status } of answers) {
    if (what !== 'write' && what !== 'transaction') continue
    const whole = what === 'write' ? 1 : 2
    const count = rows.find(({ body }) => body === mark)?.count ?? 0
    assert.ok(count === whole || (count === 0 && status !== 201), `${mark} answered ${status}, ${count} rows`)
  }
}
