// Two applications on one Redis with the same slugs and ids share nothing.
import { memoryRegistry } from '@fastify-tenancy/core'
import { postgresRegistry } from '@fastify-tenancy/database'
import { createManager } from '@fastify-tenancy/manager'
import { openRedis } from '@fastify-tenancy/redis'
import Fastify, { type FastifyInstance } from 'fastify'
import tenancy, { createTenancy, type TenancyOptions } from 'fastify-tenancy'
import { Redis } from 'ioredis'
import pg from 'pg'
import t, { type Test } from 'tap'

import { init } from '../../packages/postgres/src/install/init.ts'
import { freshDatabase, noRedis } from '../support/fresh.ts'
import { startRedis, type RedisService } from '../support/services.ts'
import { provision, type Provisioned } from '../support/tenants.ts'
import { until } from '../support/until.ts'

interface World {
  readonly service: RedisService
  readonly raw: Redis
}

async function world (t: Test): Promise<World> {
  const service = await startRedis()
  const raw = new Redis(service.url)
  t.teardown(async () => {
    raw.disconnect()
    await service.stop()
  })
  return { service, raw }
}

const host = 'acme.example.com'
const limits = { limits: { default: { rpm: 3 } } }

async function application (
  t: Test,
  on: Provisioned,
  redis: TenancyOptions['redis'],
  options: Partial<TenancyOptions> = {}
): Promise<FastifyInstance> {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(tenancy, {
    baseDomain: 'example.com',
    database: { url: on.url, registryUrl: on.registryUrl },
    tables: on.tables,
    rls: { secret: on.secret ?? '' },
    redis,
    cache: { local: {} },
    ...options
  })
  app.get('/', async ({ tenant, cache }) => ({ plan: tenant.plan, value: await cache.get('value') ?? null }))
  app.get('/twice', { config: { rateLimit: { max: 2 } } }, async () => ({}))
  await app.ready()
  return app
}

async function tenantOn (on: Provisioned, plan: string): Promise<void> {
  const pool = new pg.Pool({ connectionString: on.superUrl, max: 1 })
  await postgresRegistry(pool).insert({ id: 'acme-1', slug: 'acme', plan })
  await pool.end()
}

const ask = async (app: FastifyInstance, url = '/'): Promise<{ statusCode: number; body: string }> =>
  app.inject({ url, headers: { host } })

t.test('EDG-01 two applications with two databases on one Redis', { skip: noRedis }, async t => {
  const { service, raw } = await world(t)
  const [left, right] = [await provision(t), await provision(t)]
  await tenantOn(left, 'left')
  await tenantOn(right, 'right')
  const options = { rateLimit: limits }
  const [one, two] = [await application(t, left, service.url, options),
    await application(t, right, service.url, options)]

  await t.test('no record of one is read by the other', async t => {
    t.same(JSON.parse((await ask(one)).body), { plan: 'left', value: null })
    t.same(JSON.parse((await ask(two)).body), { plan: 'right', value: null })
  })

  await t.test('no value, no tag and no flush of one reaches the other', async t => {
    await one.tenancy.run({ slug: 'acme' }, ({ cache }) => cache.set('value', 'of one', { tags: ['tag'] }))
    await two.tenancy.run({ slug: 'acme' }, async ({ cache }) => {
      t.equal(await cache.get('value'), undefined)
      await cache.set('value', 'of two', { tags: ['tag'] })
    })
    t.equal(await one.tenancy.run({ slug: 'acme' }, ({ cache }) => cache.get('value')), 'of one')
    await two.tenancy.run({ slug: 'acme' }, ({ cache }) => cache.invalidateTag('tag'))
    t.equal(await two.tenancy.run({ slug: 'acme' }, ({ cache }) => cache.get('value')), undefined)
    await two.tenancy.run({ slug: 'acme' }, ({ cache }) => cache.flush())
    t.equal(await one.tenancy.run({ slug: 'acme' }, ({ cache }) => cache.get('value')), 'of one')
  })

  await t.test('no count of one is seen by the other: tenant, route, address, processes', async t => {
    // Each application has had one request above.
    for (const app of [one, two]) {
      t.same([(await ask(app)).statusCode, (await ask(app)).statusCode, (await ask(app)).statusCode], [200,
        200, 429])
    }
    const processes = (await raw.keys('*:processes')).toSorted()
    t.equal(processes.length, 2, 'each counts its own processes')
    for (const key of processes) t.equal(await raw.zcard(key), 1)
  })

  await t.test('no message of one installation reaches the other', async t => {
    const channels = await raw.pubsub('CHANNELS') as string[]
    t.equal(channels.length, 8, 'four of each')
    const ids = new Set(channels.map(channel => channel.split(':')[1]))
    t.equal(ids.size, 2)
    t.same(
      await Promise.all(channels.map(async channel => (await raw.pubsub('NUMSUB', channel) as unknown[])[1])),
      [1, 1, 1, 1, 1, 1, 1, 1]
    )
  })

  await t.test('every key is of one of the two installations', async t => {
    const keys = await raw.keys('*')
    t.ok(keys.length > 6)
    for (const key of keys) t.match(key, /^tenancy:[0-9a-f-]{36}:(?:[a-z-]+:)?(?:\{|processes$)/)
  })

  await t.test('a purge in one installation removes nothing of the other', async t => {
    const manager = createManager({
      database: { url: left.url, ownerUrl: left.ownerUrl },
      tables: left.tables,
      rls: { secret: left.secret ?? '' },
      redis: service.url
    })
    t.teardown(() => manager.close())
    await raw.config('SET', 'save', '')
    const of = async (app: FastifyInstance): Promise<string[]> =>
      raw.keys(`tenancy:${await app.tenantDatabase.installation()}:*acme*`)
    const before = (await of(two)).toSorted()
    t.ok((await of(one)).length > 0 && before.length > 0, 'control: both have keys')
    await manager.delete({ slug: 'acme' }, { grace: '1ms' })
    await manager.purge({ id: 'acme-1' })
    t.same((await of(two)).toSorted(), before)
    const left1 = await of(one)
    t.same(
      (await Promise.all(left1.map(key => raw.get(key)))).filter(value => !value?.startsWith('-')),
      [],
      'marks alone, which end by themselves'
    )
    t.ok(left1.every(key => /:(?:slug|id):\{/.test(key)), 'and only in the place of records')
    await until(async () => (await ask(one)).body.includes('TENANT_UNKNOWN'))
  })
})

t.test('EDG-01 the control: with one name they would meet', { skip: noRedis }, async t => {
  const { service } = await world(t)
  const [left, right] = [await provision(t), await provision(t)]
  await tenantOn(left, 'left')
  await tenantOn(right, 'right')
  const options = { namespace: 'one-name' }
  const [one, two] = [await application(t, left, service.url, options),
    await application(t, right, service.url, options)]
  await one.tenancy.run({ slug: 'acme' }, ({ cache }) => cache.set('value', 'of one'))
  t.equal(await two.tenancy.run({ slug: 'acme' }, ({ cache }) => cache.get('value')), 'of one')
})

async function onceWith<T> (url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    return await work(client)
  } finally {
    await client.end()
  }
}

/** Registers the suite, and closes the application when the test ends. */
async function boot (t: Test, options: TenancyOptions): Promise<FastifyInstance> {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(tenancy, options)
  return app
}

const idOf = (client: pg.Client): Promise<string | undefined> =>
  client.query<{ id: string }>('select id from tenancy.installation()').then(({ rows }) => rows[0]?.id)

t.test('EDG-01 a copied database is refused with Redis until init made a new id, and init says so', {
  skip: noRedis
}, async t => {
  const { service } = await world(t)
  const url = await freshDatabase(t)
  const name = new URL(url).pathname.slice(1)
  const original = await onceWith(url, async client => {
    t.same(await init(client), [])
    const id = await idOf(client)
    t.same(await init(client), [])
    t.equal(await idOf(client), id, 'control: an id stays')
    return id
  })
  // The copy gets the name of the original, so that its roles exist.
  await onceWith(process.env.TEST_DATABASE_URL ?? '', async client => {
    await until(() =>
      client.query(`create database ${name}_copy template ${name} strategy file_copy`).then(
        () => true,
        () => false
      )
    )
    await client.query(`drop database ${name}`)
    await client.query(`alter database ${name}_copy rename to ${name}`)
  })
  const options: TenancyOptions = { baseDomain: 'example.com', database: url, redis: service.url }
  await t.rejects(boot(t, options), {
    code: 'FST_TENANCY_SETUP_INVALID',
    message: /copy.*run `tenancy init`/
  })
  await t.rejects(createTenancy(options), {
    code: 'FST_TENANCY_SETUP_INVALID',
    message: /copy.*run `tenancy init`/
  })
  await t.resolves(boot(t, { baseDomain: 'example.com', database: url }), 'without Redis no id is needed')
  const manager = createManager({ database: url })
  t.teardown(() => manager.close())
  t.match((await manager.init()).remarks, [/this database is a copy.*new id/])
  t.same((await manager.init()).remarks, [], 'said once')
  await t.resolves(boot(t, options))
  await onceWith(url, async client => {
    const copy = await idOf(client)
    t.not(copy, original)
    t.match((await manager.init({ newInstallation: true })).remarks, [/new id/])
    t.not(await idOf(client), copy)
    const { scripts: [script] } = await manager.init({ newInstallation: true, print: 'sql' })
    const printed = await idOf(client)
    await client.query(script?.text ?? '')
    t.not(await idOf(client), printed, 'what is printed does the same')
  })
})

t.test('EDG-01 an old setup, and a login that may not read the id', { skip: noRedis }, async t => {
  const { service } = await world(t)
  const on = await provision(t)
  const options: TenancyOptions = {
    baseDomain: 'example.com',
    database: { url: on.url, registryUrl: on.registryUrl },
    tables: on.tables,
    rls: { secret: on.secret ?? '' },
    redis: service.url
  }
  await on.admin('delete from tenancy.installation')
  await t.rejects(boot(t, options), {
    code: 'FST_TENANCY_SETUP_INVALID',
    message: /no installation id.*run `tenancy init`/
  })
  await on.admin(
    'revoke execute on function tenancy.installation() from public; ' +
      'revoke execute on function tenancy.installation() from ' +
      (await on.admin<{ role: string }>(
        "select quote_ident(rolname) as role from pg_roles where rolname like 'tenancy\\_registry\\_' " +
          '|| substr(md5(current_database()), 1, 8)'
      ))[0]?.role
  )
  await t.rejects(boot(t, options), {
    code: 'FST_TENANCY_SETUP_INVALID',
    message: /may not read.*run `tenancy init`/
  })
})

t.test('EDG-01 with a registry that is not ours, redis needs a namespace', async t => {
  const options = {
    baseDomain: 'example.com',
    database: 'pglite://memory',
    registry: memoryRegistry([{ id: '1', slug: 'acme' }])
  }
  for (const redis of ['redis://127.0.0.1:1', { host: '127.0.0.1', port: 1 }]) {
    await t.rejects(boot(t, { ...options, redis }), {
      code: 'FST_TENANCY_OPTION_INVALID',
      message: /^options\.redis needs a namespace.*options\.namespace/
    })
  }
  for (const namespace of ['', 'a b', 'a:b', '{a}', 'x'.repeat(64)]) {
    await t.rejects(boot(t, { ...options, redis: 'redis://127.0.0.1:1', namespace }), {
      code: 'FST_TENANCY_OPTION_INVALID'
    }, namespace)
  }
})

t.test('EDG-01 each PGlite has an installation id', { skip: noRedis }, async t => {
  const { service, raw } = await world(t)
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(tenancy, { baseDomain: 'example.com', database: 'pglite://memory', redis: service.url })
  await app.ready()
  const id = await app.tenantDatabase.installation()
  t.same(
    (await raw.pubsub('CHANNELS') as string[]).toSorted(),
    ['catalog', 'invalidate', 'usage'].map(name => `tenancy:${id}:${name}`)
  )
})

t.test('EDG-01 a port with a namespace keeps it, and another one is refused', { skip: noRedis }, async t => {
  const { service, raw } = await world(t)
  const port = openRedis(service.url, { namespace: 'a' })
  t.teardown(() => port.close())
  await port.ready()
  await port.set('tenancy:{x}:cache:k', '1')
  t.same(await raw.keys('*'), ['tenancy:a:{x}:cache:k'])
  t.throws(() => openRedis(port, { namespace: 'b' }), { code: 'FST_TENANCY_OPTION_INVALID' })
  t.equal(openRedis(port, { namespace: 'a' }), port)
  const bare = openRedis({ url: service.url })
  t.teardown(() => bare.close())
  const named = openRedis(bare, { namespace: 'c' })
  await named.close()
  await bare.ready()
  await named.set('tenancy:{x}:cache:k', '2')
  t.same(
    (await raw.keys('*')).toSorted(),
    ['tenancy:a:{x}:cache:k', 'tenancy:c:{x}:cache:k'],
    'closing a name leaves the client open'
  )
  await t.rejects(Promise.resolve().then(() => named.get('greeting')), TypeError, 'a key of no tenant')
  for (let at = 0; at < 2_500; at++) await raw.set(`tenancy:c:{x*}:${at}`, '')
  await named.set('tenancy:{x*y}:cache:k', '2')
  t.equal(await named.removeAll('tenancy:{x*}:'), 2_500)
  t.equal((await raw.keys('*')).length, 3)
})
