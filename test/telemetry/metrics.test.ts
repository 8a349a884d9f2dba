// The metrics of an application, from its own requests, and what 100,000 tenants make of them.
import { channels } from '@fastify-tenancy/core'
import { prometheus } from '@fastify-tenancy/telemetry'
import { sql } from 'kysely'
import { Registry } from 'prom-client'
import t from 'tap'

import { TopTenants } from '../../packages/telemetry/src/top-tenants.ts'
import { dbOf, noteRoutes, suite } from '../support/suite.ts'
import { provision } from '../support/tenants.ts'

t.test(
  'TEL-01 requests, refused, off, limited and unknown-host ones are counted, ' +
    'and statements by tenant',
  async t => {
    const on = await provision(t)
    const app = await suite(t, on, {
      rateLimit: { limits: { default: { rpm: 1_000 }, tenants: { hooli: { rpm: 1 } } } }
    })
    const { registry } = prometheus(app, { registry: new Registry() })
    noteRoutes(app)
    app.get('/off', { config: { tenancy: 'off' } }, async () => 'off')
    app.get('/cached', async ({ cache }) => cache.wrap('key', () => 1))
    app.get('/refused', async request => sql`set role none`.execute(dbOf(request)))
    app.get('/failed', async request => sql`select 1 / 0`.execute(dbOf(request)))
    const get = async (slug: string, url: string): Promise<number> =>
      (await app.inject({ url, headers: { host: `${slug}.example.com` } })).statusCode
    t.same(
      [await get('acme', '/notes'), await get('acme', '/nowhere'), await get('nobody', '/notes'),
        await get('acme', '/off'), await get('hooli', '/notes'), await get('hooli', '/notes'),
        await get('acme', '/cached'), await get('acme', '/cached'), await get('acme', '/refused'),
        await get('acme', '/failed')],
      [200, 404, 404, 200, 200, 429, 200, 200, 500, 500]
    )
    await app.inject({ method: 'POST', url: '/transaction', headers: { host: 'globex.example.com' } })
    await app.inject({ url: '/notes', headers: { host: '!' } })
    const values = await samples(registry)
    t.equal(values('tenancy_requests_total{tenant="id-acme",class="2xx"}'), 3)
    t.equal(values('tenancy_requests_total{tenant="id-acme",class="4xx"}'), 1)
    t.equal(values('tenancy_requests_total{tenant="id-acme",class="5xx"}'), 2)
    t.equal(values('tenancy_requests_total{tenant="none",class="2xx"}'), 1, 'off')
    t.equal(values('tenancy_requests_total{tenant="none",class="4xx"}'), 2, 'unknown and malformed hosts')
    t.equal(values('tenancy_requests_total{tenant="id-hooli",class="4xx"}'), 1)
    t.equal(values('tenancy_refusals_total{code="FST_TENANCY_TENANT_UNKNOWN"}'), 1)
    t.equal(values('tenancy_refusals_total{code="FST_TENANCY_HOST_INVALID"}'), 1)
    t.equal(values('tenancy_refusals_total{code="FST_TENANCY_RATE_LIMITED"}'), 1)
    t.equal(values('tenancy_tenant_refusals_total{tenant="id-hooli"}'), 1)
    t.equal(values('tenancy_statements_total{tenant="id-globex"}'), 3, 'two inserts and a commit')
    t.ok((values('tenancy_database_seconds_total{tenant="id-acme"}') ?? 0) > 0)
    t.equal(values('tenancy_statement_failures_total{code="22012"}'), 1)
    t.equal(values('tenancy_refused_queries_total'), 1)
    t.equal(values('tenancy_cache_reads_total{result="hit"}'), 1)
    t.equal(values('tenancy_cache_reads_total{result="miss"}'), 1)
    t.ok((values('tenancy_connections') ?? 0) > 0)
    t.equal(values('tenancy_statement_duration_seconds_count{operation="COMMIT"}'), 1)
    t.equal(values('tenancy_statement_duration_seconds_bucket{le="+Inf",operation="INSERT"}'), 2)
    t.equal(
      values('tenancy_statement_duration_seconds_count{operation="OTHER"}'),
      1,
      'the one that was refused'
    )
    t.equal(values('tenancy_request_duration_seconds_count{mode="off"}'), 1)
  }
)

t.test('TEL-02 usage() counts the same from its first call, and nothing before', async t => {
  const on = await provision(t)
  const app = await suite(t, on)
  noteRoutes(app)
  const get = (slug: string) => app.inject({ url: '/notes', headers: { host: `${slug}.example.com` } })
  await get('acme')
  t.notOk(channels.query.hasSubscribers || channels.request.hasSubscribers, 'nothing listens')
  t.same(app.tenancy.usage().tenants, [])
  await Promise.all([get('acme'), get('globex'), get('globex'), get('nobody')])
  const { tenants, other, none } = app.tenancy.usage({ top: 1 })
  t.equal(tenants.length, 1)
  t.equal((tenants[0]?.requests ?? 0) + other.requests, 3)
  t.equal((tenants[0]?.statements ?? 0) + other.statements, 3)
  t.match(none, { requests: 1, refusals: 1 })
  t.throws(() => app.tenancy.usage({ top: 0 }), { code: 'FST_TENANCY_OPTION_INVALID' })
})

const query = (id: string, duration: number, error?: unknown): void =>
  channels.query.asyncEnd.publish({
    tenant: { id, slug: id, isolation: 'rls' },
    text: 'select 1',
    operation: 'SELECT',
    wait: 0,
    duration,
    rows: 1,
    error
  })

t.test(
  'TEL-03 100,000 tenants stay under 1 MB of metrics, and the busy ones keep labels of their ' +
    'own',
  async t => {
    const { registry, stop } = prometheus({}, { registry: new Registry() })
    t.teardown(stop)
    const request = {}
    for (let n = 0; n < 100_000; n++) {
      const tenant = { id: `tenant-${n}`, slug: `tenant-${n}`, isolation: 'rls' }
      query(tenant.id, 1)
      channels.request.publish({
        tenant,
        mode: 'required',
        route: '/',
        method: 'GET',
        statusCode: 200,
        duration: 1,
        request
      })
      channels.refused.publish({ code: 'FST_TENANCY_TENANT_SUSPENDED', statusCode: 403, tenant, request })
    }
    const text = await registry.metrics()
    t.ok(text.length < 1_000_000, `${text.length} characters`)
    t.ok(new Set(text.match(/tenant="[^"]*"/g)).size <= 52, 'the top, others and none')
    const values = await samples(registry)
    const total = [...text.matchAll(/^tenancy_statements_total\{[^}]*\} (\d+)/gm)].reduce(
      (sum, [, n]) => sum + Number(n),
      0
    )
    t.equal(total, 100_000, 'each is counted once')
    t.ok((values('tenancy_statements_total{tenant="other"}') ?? 0) >= 99_000)
  }
)

t.test('TEL-12 tenants named like a label, and codes that a tenant chooses, stay apart and few', async t => {
  const { registry, stop } = prometheus({}, { registry: new Registry(), top: 2 })
  t.teardown(stop)
  for (const id of ['other', 'none', 'quiet', 'silent']) query(id, id.length)
  for (let n = 0; n < 5_000; n++)
    query('other', 1, Object.assign(new Error(), { code: n.toString(36).toUpperCase().padStart(5, '0') }))
  query('other', 1, { code: `"} 1\n${'x'.repeat(1_000)}` })
  const values = await samples(registry)
  t.equal(values('tenancy_statements_total{tenant="id:other"}'), 5_002)
  t.equal(values('tenancy_statements_total{tenant="id:none"}'), 1)
  t.equal(values('tenancy_statements_total{tenant="other"}'), 2, 'the two without a label')
  t.equal(values('tenancy_statement_failures_total{code="other"}'), 4_900)
  t.equal(values('tenancy_statement_failures_total{code="unknown"}'), 1)
  const text = await registry.metrics()
  t.equal(text.match(/^tenancy_statement_failures_total\{/gm)?.length, 102)
})

t.test('TEL-04 a tenant that becomes busy takes the label of a quiet one, and others never fall', async t => {
  let now = 0
  const lost: string[] = []
  const top = new TopTenants(2, id => lost.push(id), () => now)
  const label = (id: string, weight: number): string => top.label({ id, slug: id, isolation: 'rls' }, weight)
  t.same([label('a', 5), label('b', 1), label('c', 1)], ['a', 'b', 'other'])
  for (let n = 0; n < 100; n++) t.equal(label('c', 1), 'other', 'not before the labels are given anew')
  now = 10_000
  t.equal(label('c', 1), 'c')
  t.same(lost, ['b'])
  t.equal(label('b', 1), 'other')
})

async function samples (registry: Registry): Promise<(series: string) => number | undefined> {
  const lines = (await registry.metrics()).split('\n')
  return series => {
    const found = lines.find(line => line.startsWith(`${series} `))
    return found === undefined ? undefined : Number(found.slice(series.length + 1))
  }
}
