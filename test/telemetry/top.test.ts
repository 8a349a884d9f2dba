// Finds a noisy tenant among twenty by the command, by the dashboard's query and in pg_stat_activity.
import { toTenant, memoryRegistry } from '@fastify-tenancy/core'
import { openRedis } from '@fastify-tenancy/redis'
import { prometheus } from '@fastify-tenancy/telemetry'
import Fastify, { type FastifyInstance } from 'fastify'
import tenancy from 'fastify-tenancy'
import { sql } from 'kysely'
import { readFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { Registry } from 'prom-client'
import t, { type Test } from 'tap'

import { folder, run } from '../cli/command.ts'
import { freshRedis, freshRedisOptions, noRedis } from '../support/fresh.ts'
import { dbOf } from '../support/suite.ts'
import { provision, testSecret, type Provisioned } from '../support/tenants.ts'
import { until } from '../support/until.ts'

const slugs = Array.from({ length: 20 }, (_, n) => `tenant-${String.fromCodePoint(97 + n)}`)
const noisy = 'tenant-h'
const options = { database: { tagStatements: true, pool: { max: 6 } } }

/** Opens an application of twenty tenants with Redis keys of this test's own, and its configuration. */
async function twenty (t: Test, on: Provisioned, redis: object): Promise<FastifyInstance> {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(tenancy, {
    baseDomain: 'example.com',
    database: { url: on.url, ...options.database },
    tables: on.tables,
    registry: memoryRegistry(slugs.map(slug => toTenant({ id: `id-${slug}`, slug }))),
    rls: { secret: testSecret },
    redis,
    namespace: 'top'
  })
  app.get('/', async request => {
    const seconds = request.tenant.slug === noisy ? 0.05 : 0.001
    await sql`select pg_sleep(${seconds}::float8)`.execute(dbOf(request))
    return {}
  })
  return app
}

/** Sends requests until `work` has settled: three at a time of the noisy tenant, one of the others. */
async function underLoad<T> (app: FastifyInstance, work: () => Promise<T>): Promise<T> {
  const done = new AbortController()
  const send = async (slugs: readonly string[]): Promise<void> => {
    for (let n = 0; !done.signal.aborted; n++)
      await app.inject({ url: '/', headers: { host: `${slugs[n % slugs.length]}.example.com` } })
  }
  const quiet = slugs.filter(slug => slug !== noisy)
  const load = Promise.all([send([noisy]), send([noisy]), send([noisy]), send(quiet)])
  try {
    return await work()
  } finally {
    done.abort()
    await load
  }
}

t.test(
  'TEL-08 a noisy tenant among twenty is found by tenancy top, by the dashboard and in pg_stat_activity',
  {
    skip: noRedis
  },
  async t => {
    const on = await provision(t)
    const redis = freshRedisOptions()
    const app = await twenty(t, on, redis)
    const { registry } = prometheus(app, { registry: new Registry() })
    app.get('/metrics', { config: { tenancy: 'off' } }, () => registry.metrics())
    await app.listen({ port: 0, host: '127.0.0.1' })
    const metrics = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}/metrics`
    const cwd = folder(t, {
      'tenancy.config.json': JSON.stringify({
        baseDomain: 'example.com',
        database: on.superUrl,
        tables: on.tables,
        rls: { secret: testSecret },
        redis,
        namespace: 'top'
      })
    })

    await underLoad(app, async () => {
      const before = await registry.metrics()
      const seen = new Map<string, number>()
      const watched = until(async () => {
        const rows = await on.admin<{ application_name: string }>(
          'select application_name from pg_stat_activity where datname = current_database() ' +
            "and state = 'active' and query like '%pg_sleep%' and pid <> pg_backend_pid()"
        )
        for (const { application_name: name } of rows) seen.set(name, (seen.get(name) ?? 0) + 1)
        return (seen.get(`id-${noisy}`) ?? 0) >= 20
      }, 30_000)
      const throughRedis = await run(cwd, 'top', '--seconds', '2', '--json')
      const fromMetrics = await run(cwd, 'top', '--seconds', '1', '--metrics', metrics)
      await watched
      t.equal(throughRedis.code, 0, throughRedis.stderr)
      const { tenants, processes } = JSON.parse(throughRedis.stdout) as {
        tenants: { slug: string; databaseTime: number }[]
        processes: string[]
      }
      t.equal(tenants[0]?.slug, noisy, 'tenancy top')
      t.ok(tenants.length > 1, 'among others')
      t.equal(processes.length, 1)
      t.match(fromMetrics.stdout.split('\n')[1], new RegExp(`^id-${noisy} `), 'tenancy top --metrics')
      t.equal([...seen].toSorted((a, b) => b[1] - a[1])[0]?.[0], `id-${noisy}`, 'pg_stat_activity')
      t.equal(busiest(before, await registry.metrics()), `id-${noisy}`, "the dashboard's query")
    })
    const idle = await on.admin(
      "select from pg_stat_activity where application_name like 'id-%' and state = 'idle' " +
        'and datname = current_database()'
    )
    t.equal(idle.length, 0, 'the tag ends with its statement')
  }
)

t.test('TEL-09 a process answers nobody who has not its secret, and counts only while it is asked', {
  skip: noRedis
}, async t => {
  const on = await provision(t)
  const redis = freshRedisOptions()
  const app = await twenty(t, on, redis)
  await app.ready()
  const port = openRedis(freshRedis(t), { namespace: 'top' })
  const listener = freshRedis(t)
  await listener.psubscribe(`${redis.keyPrefix}*usage-answer*`)
  const heard: unknown[] = []
  listener.on('pmessage', (...message) => heard.push(message))
  for (const message of ['{"question":"0123456789abcdef","seconds":0}', 'nonsense', '.x\n{}'])
    await port.publish('tenancy:usage', message)
  const cwd = folder(t, {
    'tenancy.config.json': JSON.stringify({
      database: on.superUrl,
      redis,
      namespace: 'top',
      rls: { secret: `${testSecret} of another` }
    })
  })
  const other = await run(cwd, 'top', '--seconds', '1')
  t.equal(other.code, 1)
  t.match(other.stderr, /no running application answered/)
  t.same(heard, [])
  t.equal((await run(cwd, 'top', '--seconds', '0')).code, 2)
})

/**
 * Returns the tenant that the first panel of the dashboard plots highest:
 * `topk(10, sum by (tenant) (rate(<counter>{tenant!~"none"}[…])))`.
 */
function busiest (before: string, after: string): string | undefined {
  const file = join(import.meta.dirname, '../../packages/telemetry/grafana/dashboard.json')
  const { panels } = JSON.parse(readFileSync(file, 'utf8')) as { panels: { targets: { expr: string }[] }[] }
  const [, counter = ''] = /^topk\(10, sum by \(tenant\) \(rate\((\w+)\{tenant!~"none"\}\[/.exec(
    panels[0]?.targets[0]?.expr ?? ''
  ) ?? []
  const values = (text: string): Map<string, number> =>
    new Map(
      [...text.matchAll(new RegExp(`^${counter}\\{tenant="([^"]*)"\\} (\\S+)`, 'gm'))].map((
        [, tenant = '', value]
      ) => [tenant, Number(value)] as const)
    )
  const old = values(before)
  return [...values(after)].map(([tenant, value]) => [tenant, value - (old.get(tenant) ?? 0)] as const)
    .toSorted((a, b) => b[1] - a[1])[0]?.[0]
}
