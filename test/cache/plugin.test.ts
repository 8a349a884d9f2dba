import { Redis } from 'ioredis'
import t from 'tap'

import type { TenantCacheHandle } from '@fastify-tenancy/cache'
import { openRedis } from '@fastify-tenancy/redis'

import { freshRedis, freshRedisOptions, noRedis } from '../support/fresh.ts'
import { until } from '../support/until.ts'
import { appWith, cacheOf, scopeOf } from './stub.ts'

t.test('a request has its own tenant’s cache until it ends', async t => {
  const app = await appWith()
  t.teardown(() => app.close())
  let kept: TenantCacheHandle | undefined
  app.get('/', async request => {
    kept = request.cache
    t.equal(request.cache, kept)
    return {
      count: await request.cache.increment('visits'),
      who: await request.cache.wrap('who', () => request.headers['x-test-tenant'])
    }
  })
  const visit = async (tenant: string): Promise<unknown> =>
    (await app.inject({ url: '/', headers: { 'x-test-tenant': tenant } })).json()
  t.same(await visit('acme'), { count: 1, who: 'acme' })
  t.same(await visit('globex'), { count: 1, who: 'globex' })
  t.same(await visit('acme'), { count: 2, who: 'acme' })
  await t.rejects((kept as TenantCacheHandle).get('who'), { code: 'FST_TENANCY_SCOPE_CLOSED' })
})

t.test('where there is no tenant the getter throws, and it is not enumerable', async t => {
  const app = await appWith()
  t.teardown(() => app.close())
  app.get('/', async request => {
    t.notOk(Object.keys(request).includes('cache'))
    return request.cache.get('k')
  })
  const reply = await app.inject('/')
  t.equal(reply.statusCode, 500)
  t.equal(reply.json().code, 'FST_TENANCY_CONTEXT_MISSING')
})

t.test('a getter touched after the end of the request throws', async t => {
  const app = await appWith()
  t.teardown(() => app.close())
  let later: (() => unknown) | undefined
  app.get('/', async request => {
    later = () => request.cache
    return ''
  })
  await app.inject({ url: '/', headers: { 'x-test-tenant': 'acme' } })
  t.throws(() => later?.(), { code: 'FST_TENANCY_SCOPE_CLOSED' })
})

t.test('another name for the getter', async t => {
  const app = await appWith({ decorator: 'store' })
  t.teardown(() => app.close())
  app.get('/', async request => (request as unknown as { store: TenantCacheHandle }).store.increment('n'))
  t.equal((await app.inject({ url: '/', headers: { 'x-test-tenant': 'acme' } })).payload, '1')
  t.notOk(app.hasRequestDecorator('cache'))
})

t.test('RED-08 a handle shows its methods and nothing behind them', { skip: noRedis }, async t => {
  const app = await appWith({ redis: freshRedisOptions(), local: {} })
  t.teardown(() => app.close())
  await app.ready()
  const methods = ['delete', 'flush', 'get', 'getMany', 'has', 'increment', 'invalidateTag', 'set', 'toKeyv',
    'wrap']
  const cache = cacheOf(app, 'acme')
  t.same(Reflect.ownKeys(cache), [])
  t.same(Reflect.ownKeys(Object.getPrototypeOf(cache) as object).toSorted(), ['constructor', ...methods])
  t.equal(Object.getPrototypeOf(Object.getPrototypeOf(cache)), Object.prototype)
  t.same(Reflect.ownKeys(app.tenantCache).toSorted(), ['forScope', 'health'])
  t.same(Reflect.ownKeys(cache.toKeyv()).toSorted(), ['clear', 'delete', 'deleteMany', 'get', 'getMany',
    'has', 'set'])
  for (
    const name of ['client', 'redis', 'store', 'eval', 'evalsha', 'publish', 'scan', 'keys', 'flushdb',
      'flushall', 'call', 'sendCommand']
  ) t.notOk(name in cache, name)
  // The same check finds a client where there is one.
  t.ok(
    'client' in new (class {
      client = 1
    })(),
    'control'
  )
})

t.test('wrong options stop the boot with their name', async t => {
  for (
    const [options, message] of [
      [{ ttl: 300 }, /^options\.ttl must be a duration/],
      [{ ttl: '0s' }, /^options\.ttl must be a duration/],
      [{ jitter: 2 }, /^options\.jitter must be a number from 0 to 1/],
      [{ redis: 'localhost' }, /^options\.redis must be a redis/],
      [{ local: true }, /^options\.local must be false or an object/],
      [{ maxEntryBytes: 0 }, /^options\.maxEntryBytes must be a positive integer/],
      [{ onStoreError: 'ignore' }, /^options\.onStoreError must be one of 'miss', 'throw'/],
      [{ serializer: { parse () {} } },
        /^options\.serializer must be an object with the methods stringify and parse/],
      [{ tll: '5m' }, /^options\.tll is not a known option/]
    ] as const
  ) await t.rejects(appWith(options as never), { code: 'FST_TENANCY_OPTION_INVALID', message })
  t.notOk(Object.isFrozen(JSON), 'the default serializer is not frozen with the options')
})

t.test('a variable of the environment that is not set means no Redis', async t => {
  const app = await appWith({ redis: undefined })
  t.teardown(() => app.close())
  await app.ready()
  t.equal(app.tenantCache.health().store, 'memory')
})

t.test('the cache closes only a client that it opened', { skip: noRedis }, async t => {
  const client = freshRedis(t)
  const port = openRedis(freshRedisOptions())
  t.teardown(() => port.close())
  for (const redis of [client, port]) {
    const app = await appWith({ redis, local: {} })
    await app.ready()
    t.same(app.tenantCache.health(), { store: 'redis', status: 'ok' })
    await app.close()
  }
  t.equal(await client.ping(), 'PONG')
  t.equal(await port.get('k'), null)

  const options = { ...freshRedisOptions(), connectionName: `own-${process.pid}` }
  const own = await appWith({ redis: options })
  await own.ready()
  await cacheOf(own, 'acme').set('k', 1)
  const names = async (): Promise<string> => await client.call('CLIENT', 'LIST') as string
  t.match(await names(), options.connectionName)
  await own.close()
  t.notMatch(await names(), options.connectionName)
})

t.test('without Redis the log says at boot that values stay in this process', async t => {
  const app = await appWith()
  t.teardown(() => app.close())
  t.same(app.tenantCache.health(), { store: 'memory', status: 'ok' })
})

t.test(
  'a refresh in the background keeps the request’s scope open until it has ended',
  { skip: noRedis },
  async t => {
    const raw = new Redis(freshRedisOptions())
    t.teardown(() => {
      raw.disconnect()
    })
    const app = await appWith({ redis: raw, jitter: 0 })
    t.teardown(() => app.close())
    await app.ready()
    await cacheOf(app, 'acme').wrap('k', () => 'old', { ttl: '1ms', staleFor: '1m' })
    // Expired: only wrap serves the stale value now.
    await until(async () => await cacheOf(app, 'acme').get('k') === undefined)
    const scope = scopeOf('acme')
    const { promise, resolve } = Promise.withResolvers<string>()
    const cache = app.tenantCache.forScope(scope)
    t.equal(await cache.wrap('k', () => promise, { staleFor: '1m' }), 'old')
    scope.end()
    t.equal(scope.isClosed, false)
    resolve('new')
    await until(() => scope.isClosed)
    t.equal(await cacheOf(app, 'acme').get('k'), 'new')
  }
)
