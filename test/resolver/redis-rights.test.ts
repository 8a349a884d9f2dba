// EDG-03: all plugins on a Redis login with fewer privileges than they need.
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'

import tenantCache from '@fastify-tenancy/cache'
import { memoryRegistry, type TenantChange, type TenantRegistry } from '@fastify-tenancy/core'
import tenantRateLimit from '@fastify-tenancy/rate-limit'
import { openRedis, type TenancyRedis } from '@fastify-tenancy/redis'
import tenantResolver from '@fastify-tenancy/resolver'
import Fastify, { type FastifyInstance } from 'fastify'

import { noRedis } from '../support/fresh.ts'
import { startRedis } from '../support/services.ts'
import { until } from '../support/until.ts'

interface World {
  readonly app: FastifyInstance
  readonly redis: TenancyRedis
  readonly lines: string[]
  readonly suspend: () => void
}

/** A registry that reports its own changes, as the one on PostgreSQL does by LISTEN. */
async function world (t: Test, ...rights: string[]): Promise<World> {
  const service = await startRedis()
  const admin = new Redis(service.url)
  await admin.call('ACL', 'SETUSER', 'app', 'on', '>right', '~*', '+@all', ...rights)
  const lines: string[] = []
  const app = Fastify({
    logger: {
      level: 'warn',
      stream: {
        write: line => {
          lines.push(line)
        }
      }
    }
  })
  t.teardown(async () => {
    await app.close()
    admin.disconnect()
    await service.stop()
  })
  const before = memoryRegistry([{ id: 'a', slug: 'acme' }])
  const after = memoryRegistry([{ id: 'a', slug: 'acme', status: 'suspended' }])
  let current = before
  let onChange: ((change: TenantChange | 'all') => void) | undefined
  const registry: TenantRegistry = {
    findBySlug: slug => current.findBySlug(slug),
    findByDomain: domain => current.findByDomain(domain),
    findById: id => current.findById(id),
    list: filter => current.list(filter),
    insert: record => current.insert(record),
    update: (id, version, changes) => current.update(id, version, changes),
    watch: async listener => {
      onChange = listener
      return async () => {}
    }
  }
  const redis = openRedis({
    host: '127.0.0.1',
    port: service.port,
    username: 'app',
    password: 'right',
    commandTimeout: 5_000
  }, { namespace: 'test', log: app.log })
  app.addHook('onClose', () => redis.close())
  await app.register(tenantResolver, { baseDomain: 'example.com', registry, redis })
  await app.register(tenantRateLimit, { limits: {}, redis })
  await app.register(tenantCache, { local: {}, redis })
  app.get(
    '/me',
    async request => ({ slug: request.tenant?.slug, hits: await request.cache.increment('hits') })
  )
  await app.ready()
  return {
    app,
    redis,
    lines,
    suspend () {
      current = after
      onChange?.({ id: 'a', slugs: ['acme'], domains: [] })
    }
  }
}

t.test(
  'EDG-03 a login without channels: one warning each, and changes arrive by the registry',
  { skip: noRedis },
  async t => {
    const { app, redis, lines, suspend } = await world(t, 'resetchannels')
    const get = (): Promise<number> =>
      app.inject({ url: '/me', headers: { host: 'acme.example.com' } }).then(reply => reply.statusCode)
    t.same([await get(), await get()], [200, 200])
    t.match(redis.state(), { status: 'degraded', reason: 'NOPERM', messages: 'missed' })
    t.equal(app.tenantResolver.health().status, 'degraded')
    t.equal(app.tenantCache.health().status, 'degraded')
    const refused = lines.filter(line => line.includes('refuses this login the channel'))
    t.equal(new Set(refused).size, refused.length)
    t.equal(refused.length, 2, 'those of changes and of cached copies')
    t.equal(lines.filter(line => line.includes('NOPERM')).length, 2)
    suspend()
    await until(async () => await get() === 403)
  }
)

t.test(
  'EDG-06 a read-only login: requests are served, with one warning for each feature',
  { skip: noRedis },
  async t => {
    const { app, redis, lines } = await world(t, 'allchannels', '-@write', '-@scripting')
    for (let i = 0; i < 5; i++) {
      const reply = await app.inject({ url: '/me', headers: { host: 'acme.example.com' } })
      t.equal(reply.statusCode, 503)
      t.equal(reply.headers['retry-after'], '1')
      t.equal(reply.json().code, 'FST_TENANCY_REDIS_UNAVAILABLE')
    }
    t.match(redis.state(), { status: 'degraded', reason: 'NOPERM' })
    // Lines without a request, because Fastify itself logs each 503.
    const about = lines.filter(line => line.includes('NOPERM') && !line.includes('reqId'))
    t.ok(about.length >= 1 && about.length <= 2, about.join('\n'))
  }
)
