// One tenant's load and its effect on others, over HTTP.
import type { LightMyRequestResponse } from 'fastify'
import { sql } from 'kysely'
import t from 'tap'

import { dbOf, suite, type SuiteOptions } from '../support/suite.ts'
import { provision } from '../support/tenants.ts'
import { until } from '../support/until.ts'

type Get = (slug: string, url: string) => Promise<LightMyRequestResponse>

async function start (database: SuiteOptions['database'] = {}): Promise<{ get: Get; waiting: () => number }> {
  const app = await suite(t, await provision(t), { database })
  app.get('/slow', async request => sql`select pg_sleep(0.1)`.execute(dbOf(request)))
  app.get('/quick', async request => dbOf(request).selectFrom('notes').select('body').execute())
  await app.ready()
  return {
    get: (slug, url) => app.inject({ url, headers: { host: `${slug}.example.com` } }),
    waiting: () => app.tenancy.health().database.waiting
  }
}

const statuses = (answers: readonly LightMyRequestResponse[]): number[] =>
  [...new Set(answers.map(({ statusCode }) => statusCode))].toSorted()

t.test("PGF-03 over HTTP, one tenant's hundred slow queries do not slow another tenant", async t => {
  const { get, waiting } = await start({ pool: { max: 4 } })
  const began = performance.now()
  const slow = Array.from({ length: 100 }, () => get('acme', '/slow'))
  await until(() => waiting() > 90)
  const times: number[] = []
  for (let n = 0; n < 100; n++) {
    const start = performance.now()
    t.equal((await get('globex', '/quick')).statusCode, 200)
    times.push(performance.now() - start)
  }
  const p99 = times.toSorted((a, b) => a - b)[98] ?? Infinity
  t.same(statuses(await Promise.all(slow)), [200], 'the slow ones too are served in the end')
  const whole = performance.now() - began
  t.ok(p99 < whole / 10, `p99 ${Math.round(p99)} ms of ${Math.round(whole)} ms`)
})

t.test('PGF-04 over HTTP, a full queue is an immediate 503 for its own tenant only', async t => {
  const { get, waiting } = await start({ pool: { max: 2 }, fairness: { maxWaiting: 5 } })
  const held = Array.from({ length: 6 }, () => get('acme', '/slow'))
  await until(() => waiting() === 5)
  const refused = await Promise.all(Array.from({ length: 50 }, () => get('acme', '/slow')))
  t.ok(refused.every(({ statusCode, headers }) => statusCode === 503 && headers['retry-after'] === '1'))
  t.match(refused[0]?.json(), { code: 'FST_TENANCY_DATABASE_BUSY' })
  t.equal((await get('globex', '/quick')).statusCode, 200)
  t.same(statuses(await Promise.all(held)), [200])
})
