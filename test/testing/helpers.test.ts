// What the kit offers beside assertIsolated(): requests of a tenant, tenants of a test, faults, a clock.
import { createTestTenants, freezeRedis, injectAs, killBackends, loseInvalidations,
  virtualClock } from '@fastify-tenancy/testing'
import { memoryRegistry } from '@fastify-tenancy/core'
import { tenantResolver } from '@fastify-tenancy/resolver'
import Fastify from 'fastify'
import tenancy from 'fastify-tenancy'
import { Redis } from 'ioredis'
import pg from 'pg'
import t from 'tap'

import { freshDatabase, noRedis } from '../support/fresh.ts'
import { startRedis } from '../support/services.ts'
import { provision } from '../support/tenants.ts'
import { suite } from '../support/suite.ts'
import { openWorld, secret, tables } from './kit-world.ts'

function authenticate (tenant: { readonly id: string }): Record<string, string> {
  return { authorization: tenant.id }
}

t.test('injectAs() sends what names the tenant: host, header and path, and its claim', async t => {
  const app = await suite(t, await provision(t), {
    resolver: {
      strategies: ['header', 'subdomain'],
      claim: request => String(request.headers.authorization ?? '') || undefined
    }
  })
  app.get(
    '/',
    async request => ({ id: request.tenant.id, source: request.tenantSource, host: request.hostname })
  )
  const reply = await injectAs(app, { slug: 'acme' }, { url: '/', authenticate })
  t.same(reply.json(), { id: 'id-acme', source: 'header', host: 'acme.example.com' })
  t.equal(
    (await injectAs(app, { id: 'id-globex' }, {
      url: '/',
      authenticate: () => ({ authorization: 'id-acme' })
    })).statusCode,
    403
  )
  await t.rejects(injectAs(app, { slug: 'nobody' }, '/'), /does not exist/)
  await t.rejects(injectAs(Fastify(), { slug: 'acme' }, '/'), /register fastify-tenancy/)
})

t.test(
  'createTestTenants() fills tenants with tagged values, and dispose() leaves nothing of ' +
    'them',
  async t => {
    const { url, manager, pool } = await openWorld(t)
    const app = Fastify()
    t.teardown(() => app.close())
    await app.register(tenancy, { baseDomain: 'example.com', database: url, rls: { secret }, tables })
    await app.ready()
    const count = async (): Promise<number> =>
      Number((await pool.query('select count(*) as n from projects')).rows[0].n)
    const tenants = await createTestTenants(manager, 2, {
      seed: ({ tenant, tag }) =>
        app.tenancy.run(
          { id: tenant.id },
          ({ db }) => db.insertInto('projects' as never).values({ name: tag(1) } as never).execute()
        )
    })
    t.equal(await count(), 2)
    const { rows } = await pool.query('select name from projects')
    t.same(rows.map(row => row.name).toSorted(), tenants.names.map(name => `${name}:1`).toSorted())
    await tenants.dispose()
    await tenants.dispose()
    t.equal(await count(), 0)
    t.equal(await manager.get({ slug: tenants.names[0] ?? '' }), undefined)
    await t.rejects(createTestTenants(manager, 0), RangeError)
  }
)

t.test('createTestTenants() removes what it made when a seed fails', async t => {
  const { manager } = await openWorld(t)
  let slug = ''
  await t.rejects(
    createTestTenants(manager, 2, {
      seed ({ tenant }) {
        slug = tenant.slug
        throw new Error('no rows today')
      }
    }),
    /no rows today/
  )
  t.not(slug, '')
  t.equal(await manager.get({ slug }), undefined)
})

t.test('killBackends() ends the other connections of its database, and no others', async t => {
  const url = await freshDatabase(t)
  const other = new pg.Client(await freshDatabase(t))
  await other.connect()
  t.teardown(() => other.end())
  const client = new pg.Client(url)
  client.on('error', () => {})
  await client.connect()
  const ended = new Promise(resolve => client.once('end', resolve))
  t.equal(await killBackends(url), 1)
  await ended
  t.same((await other.query('select 1 as n')).rows, [{ n: 1 }])
})

t.test('freezeRedis() lets no command be answered until it is thawed', { skip: noRedis }, async t => {
  const server = await startRedis()
  t.teardown(() => server.stop())
  const redis = new Redis(server.url, {
    commandTimeout: 200,
    maxRetriesPerRequest: 0,
    retryStrategy: () => 10
  })
  redis.on('error', () => {})
  t.teardown(() => redis.disconnect())
  t.equal(await redis.ping(), 'PONG')
  const thaw = freezeRedis(server.process.pid ?? 0)
  await t.rejects(redis.ping())
  thaw()
  t.equal(await redis.ping(), 'PONG')
})

t.test('loseInvalidations() keeps changes from an application until it listens again', async t => {
  const registry = memoryRegistry([{ id: 'id-acme', slug: 'acme' }])
  const listeners = new Set<(change: 'all') => void>()
  const watched = Object.assign(Object.create(registry) as typeof registry, {
    findBySlug: (slug: string) => registry.findBySlug(slug),
    findByDomain: (domain: string) => registry.findByDomain(domain),
    findById: (id: string) => registry.findById(id),
    async watch (listener: (change: 'all') => void) {
      listeners.add(listener)
      return async () => {
        listeners.delete(listener)
      }
    }
  })
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(tenantResolver, {
    registry: watched,
    baseDomain: 'example.com',
    cache: { localTtl: '1h', ttl: '1h' }
  })
  app.get('/', async request => ({ plan: request.tenant.plan }))
  await app.ready()
  const plan = async (): Promise<string> => (await injectPlan()).json().plan
  const injectPlan = (): ReturnType<typeof app.inject> =>
    app.inject({ url: '/', headers: { host: 'acme.example.com' } }) as never
  t.equal(await plan(), 'free')
  const listen = await loseInvalidations(app)
  const acme = await registry.findById('id-acme')
  await registry.update('id-acme', acme?.version ?? 1, { plan: 'pro' })
  for (const listener of listeners) listener('all')
  t.equal(await plan(), 'free', 'nothing was heard')
  await listen()
  for (const listener of listeners) listener('all')
  t.equal(await plan(), 'pro')
  await t.rejects(loseInvalidations(Fastify()), /register fastify-tenancy/)
})

t.test('virtualClock() stands still until it is moved, and goes back to the real one', async t => {
  const real = Date
  const clock = virtualClock(Date.UTC(2030, 0, 1))
  try {
    const began = performance.now()
    t.equal(new Date().toISOString(), '2030-01-01T00:00:00.000Z')
    t.equal(Date.now(), clock.now())
    clock.advance(90_000)
    t.equal(new Date().toISOString(), '2030-01-01T00:01:30.000Z')
    t.equal(performance.now() - began, 90_000)
    t.ok(new Date(0) instanceof Date)
    t.equal(new Date(2020, 1).getFullYear(), 2020)
    t.throws(() => clock.advance(-1), RangeError)
  } finally {
    clock.restore()
  }
  t.equal(Date, real)
  t.ok(Date.now() < Date.UTC(2030, 0, 1))
})
