// health() reports an outage also without traffic.
import { memoryRegistry } from '@fastify-tenancy/core'
import { postgresRegistry } from '@fastify-tenancy/database'
import Fastify, { type FastifyInstance } from 'fastify'
import tenancy, { createTenancy, type TenancyOptions } from 'fastify-tenancy'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import t, { type Test } from 'tap'

import { CountingRegistry } from '../resolver/app.ts'
import { noRedis } from '../support/fresh.ts'
import { startRedis, temporaryFolder } from '../support/services.ts'
import { tcpProxy } from '../support/tcp-proxy.ts'
import { provision } from '../support/tenants.ts'
import { until } from '../support/until.ts'

async function application (t: Test, options: TenancyOptions): Promise<FastifyInstance> {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(tenancy, options)
  app.get(
    '/live',
    { config: { tenancy: 'off' } },
    async (_request, reply) => reply.code(app.tenancy.isLive() ? 200 : 503).send()
  )
  app.get(
    '/ready',
    { config: { tenancy: 'off' } },
    async (_request, reply) => reply.code(app.tenancy.isReady() ? 200 : 503).send()
  )
  app.get('/', request => request.tenant.slug)
  await app.ready()
  return app
}

const on = await provision(t)
// The tests mostly wait for timeouts, so they run in parallel, each with an application of its own.
t.jobs = 8
const together = { buffered: true }
/** Options with a database that works, shared by the tests of other parts. */
const fine = {
  baseDomain: 'example.com',
  database: { url: on.url, registryUrl: on.registryUrl },
  tables: on.tables,
  rls: { secret: on.secret ?? '' }
}

const probes = async (app: FastifyInstance): Promise<number[]> =>
  Promise.all(
    ['/live', '/ready'].map(async url =>
      (await app.inject({ url, headers: { host: '10.0.0.7' } })).statusCode
    )
  )

for (
  const [how, away] of [['cut', (proxy: Awaited<ReturnType<typeof tcpProxy>>) => {
    proxy.blackHole()
    proxy.cut()
  }], ['silent', (proxy: Awaited<ReturnType<typeof tcpProxy>>) => {
    proxy.blackHole()
  }]] as const
) {
  t.test(`EDG-13 PostgreSQL is away (${how}), without any traffic`, together, async t => {
    const proxy = await tcpProxy(t, on.url)
    const through = (url: string): string =>
      Object.assign(new URL(url), { host: new URL(proxy.url).host }).href
    const app = await application(t, {
      baseDomain: 'example.com',
      database: { url: through(on.url), registryUrl: through(on.registryUrl) },
      tables: on.tables,
      rls: { secret: on.secret ?? '' }
    })
    t.match(app.tenancy.health(), {
      status: 'ok',
      down: { length: 0 },
      registry: 'ok',
      shards: { default: 'ok' }
    })
    t.same(await probes(app), [200, 200])
    away(proxy)
    await until(() => app.tenancy.health().status === 'down')
    await until(() => app.tenancy.health().registry === 'down')
    t.match(app.tenancy.health(), {
      status: 'down',
      down: ['registry', 'shard default'],
      shards: { default: 'down' }
    })
    t.same(await probes(app), [200, 503], 'liveness stays, readiness goes')
    proxy.restore()
    proxy.cut()
    await until(() => app.tenancy.health().status === 'ok')
    t.same(await probes(app), [200, 200])
  })
}

t.test(
  'EDG-13 one of two shards is away: it is named, and the other tenants are served',
  together,
  async t => {
    const [one, two] = [await provision(t), await provision(t)]
    const proxy = await tcpProxy(t, two.url)
    const app = await application(t, {
      baseDomain: 'example.com',
      database: { url: one.url, registryUrl: one.registryUrl, shards: { eu: proxy.url } },
      tables: one.tables,
      rls: { secret: one.secret ?? '' }
    })
    const pool = new pg.Pool({ connectionString: one.superUrl, max: 1 })
    await postgresRegistry(pool).insert({ id: 'id-acme', slug: 'acme' })
    await pool.end()
    proxy.blackHole()
    proxy.cut()
    await until(() => app.tenancy.health().status === 'degraded')
    t.match(app.tenancy.health(), {
      down: ['shard eu'],
      shards: { default: 'ok', eu: 'down' },
      registry: 'ok',
      database: { status: 'degraded' }
    })
    t.same(await probes(app), [200, 200])
    t.equal((await app.inject({ url: '/', headers: { host: 'acme.example.com' } })).body, 'acme')
    proxy.restore()
    await until(() => app.tenancy.health().status === 'ok')
  }
)

t.test(
  'EDG-13 a pool whose connections are all at work is no outage, and traffic makes questions needless',
  together,
  async t => {
    const app = await application(t, {
      baseDomain: 'example.com',
      database: { url: on.url, pool: { max: 1 }, statementTimeout: '20s' },
      tables: on.tables,
      rls: { secret: on.secret ?? '' },
      registry: memoryRegistry([{ id: 'id-acme', slug: 'acme' }])
    })
    const release = Promise.withResolvers<void>()
    const run = app.tenancy.run({ slug: 'acme' }, async ({ db }) =>
      db.transaction().execute(async trx => {
        await trx.selectFrom('notes' as never).selectAll().execute()
        await release.promise
      }))
    let beats = 0
    const timer = setInterval(() => {
      beats++
    }, 250)
    await until(() => {
      if (app.tenancy.health().status !== 'ok') throw new Error('an outage')
      return beats > 14
    })
    clearInterval(timer)
    release.resolve()
    await run
    t.equal(app.tenancy.health().status, 'ok')
  }
)

t.test('EDG-13 Redis that stands still, without any traffic', { ...together, skip: noRedis }, async t => {
  const service = await startRedis()
  t.teardown(() => service.stop())
  const app = await application(t, { ...fine, redis: service.url })
  await until(() => app.tenancy.health().status === 'ok')
  service.process.kill('SIGSTOP')
  await until(() => app.tenancy.health().down.includes('redis'))
  t.match(app.tenancy.health(), { status: 'degraded', down: ['redis'] })
  t.ok(app.tenancy.isReady())
  service.process.kill('SIGCONT')
  await until(() => app.tenancy.health().status === 'ok')
})

t.test("EDG-13 a registry of the user's own, and the limits file", together, async t => {
  const folder = temporaryFolder()
  const file = join(folder, 'limits.json')
  writeFileSync(file, '{}')
  const registry = new CountingRegistry()
  const app = await application(t, { ...fine, registry, rateLimit: file })
  t.equal((await app.inject({ url: '/', headers: { host: 'acme.example.com' } })).body, 'acme')
  registry.failure = new Error('away')
  await until(() => app.tenancy.health().registry === 'down')
  t.match(app.tenancy.health(), { status: 'degraded', down: ['registry'] })
  registry.failure = undefined
  await until(() => app.tenancy.health().registry === 'ok')
  writeFileSync(file, '{')
  await until(() => app.tenancy.health().down.includes('limits file'))
  t.match(app.tenancy.health(), { limits: { file, status: 'stale' } })
})

t.test('readiness goes when the application closes, and without Fastify too', together, async t => {
  const app = Fastify()
  await app.register(tenancy, fine)
  const seen: boolean[] = []
  app.addHook('preClose', async () => {
    seen.push(app.tenancy.isReady(), app.tenancy.isLive())
  })
  await app.ready()
  t.ok(app.tenancy.isReady())
  await app.close()
  t.same(seen, [false, true])
  const standalone = await createTenancy(fine)
  t.ok(standalone.isReady())
  await standalone.close()
  t.notOk(standalone.isReady())
  t.equal(standalone.health().status, 'down')
})
