// Copies in the process: how long they may be stale, and what drops them.
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import type { FastifyInstance } from 'fastify'

import type { CacheOptions, TenantCacheHandle } from '@fastify-tenancy/cache'
import { openRedis, type TenancyRedis } from '@fastify-tenancy/redis'

import { freshRedis, freshRedisOptions, noRedis } from '../support/fresh.ts'
import { startRedis } from '../support/services.ts'
import { until } from '../support/until.ts'
import { appWith, cacheOf } from './stub.ts'

async function app (t: Test, options: CacheOptions): Promise<FastifyInstance> {
  const app = await appWith(options)
  t.teardown(() => app.close())
  await app.ready()
  return app
}

/** Returns one tenant's caches in two processes. Their copies live long enough to be seen stale. */
async function two (
  t: Test
): Promise<{ redis: ReturnType<typeof freshRedisOptions>; one: TenantCacheHandle; two: TenantCacheHandle }> {
  const redis = freshRedisOptions()
  const apps = await Promise.all([app(t, { redis, local: { ttl: '10m' } }),
    app(t, { redis, local: { ttl: '10m' } })])
  return { redis, one: cacheOf(apps[0], 'acme'), two: cacheOf(apps[1], 'acme') }
}

t.test('a copy is read without Redis', { skip: noRedis }, async t => {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  const cache = cacheOf(await app(t, { redis: redis.url, local: { ttl: '10m' } }), 'acme')
  await cache.set('k', { list: [1] })
  t.same(await cache.get('k'), { list: [1] })
  await redis.stop()
  const [a, b] = [await cache.get('k'), await cache.get('k')]
  t.same(a, { list: [1] })
  t.not(a, b, 'each caller has an object of his own')
  t.same(await cache.wrap('k', () => t.fail()), { list: [1] })
})

for (
  const [what, change] of Object.entries({
    set: (cache: TenantCacheHandle) => cache.set('k', 'new'),
    delete: (cache: TenantCacheHandle) => cache.delete('k'),
    increment: (cache: TenantCacheHandle) => cache.increment('k'),
    invalidateTag: (cache: TenantCacheHandle) => cache.invalidateTag('t'),
    flush: (cache: TenantCacheHandle) => cache.flush(),
    'delete of a long key': (cache: TenantCacheHandle) => cache.delete('k', 'x'.repeat(5_000))
  })
) {
  t.test(
    `${what} in one process reaches the copies of another, and its own at once`,
    { skip: noRedis },
    async t => {
      const { one, two: other } = await two(t)
      await one.set('k', 1, { tags: ['t'] })
      if (what === 'increment') await one.set('k', 1)
      t.equal(await one.get('k'), 1)
      t.equal(await other.get('k'), 1)
      await change(one)
      const start = performance.now()
      t.not(await one.get('k'), 1)
      await until(async () => await other.get('k') !== 1)
      t.comment(`${(performance.now() - start).toFixed(2)} ms`)
    }
  )
}

t.test('a change whose message was lost is seen after the ttl of the copies', { skip: noRedis }, async t => {
  const redis = freshRedisOptions()
  const quiet = cacheOf(await app(t, { redis }), 'acme') // has no local copies, so it publishes no changes
  const cache = cacheOf(await app(t, { redis, local: { ttl: '50ms' } }), 'acme')
  await quiet.set('k', 'old')
  t.equal(await cache.get('k'), 'old')
  await quiet.set('k', 'new')
  await until(async () => await cache.get('k') === 'new')
})

t.test('when messages may have been lost, all copies go', { skip: noRedis }, async t => {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  const raw = new Redis(redis.url)
  t.teardown(() => {
    raw.disconnect()
  })
  const quiet = cacheOf(await app(t, { redis: redis.url }), 'acme')
  const cache = cacheOf(await app(t, { redis: redis.url, local: { ttl: '10m' } }), 'acme')
  await quiet.set('k', 'old')
  t.equal(await cache.get('k'), 'old')
  await quiet.set('k', 'new')
  t.equal(await cache.get('k'), 'old', 'control: nothing else drops it')
  await raw.call('CLIENT', 'KILL', 'TYPE', 'pubsub')
  await until(async () => await cache.get('k') === 'new')
})

interface HeldReads {
  readonly redis: TenancyRedis
  /** Number of answered reads. The first reply is held back. */
  answers(): number
  /** Lets the first reply pass. A message about a change does so, too. */
  release(): void
  /** Reports that messages may have been lost. */
  gap(): void
}

function heldReads (port: TenancyRedis): HeldReads {
  const { promise: released, resolve: release } = Promise.withResolvers<void>()
  let answers = 0
  const gaps: (() => void)[] = []
  const redis: TenancyRedis = {
    get isAvailable () {
      return port.isAvailable
    },
    isCluster: false,
    get: key => port.get(key),
    async mget (keys) {
      const answer = await port.mget(keys)
      if (answers++ === 0) await released
      return answer
    },
    set: (key, value, ttl) => port.set(key, value, ttl),
    del: (...keys) => port.del(...keys),
    run: (script, keys, args) => port.run(script, keys, args),
    removeAll: prefix => port.removeAll(prefix),
    publish: (channel, message) => port.publish(channel, message),
    subscribe (channel, onMessage, onGap) {
      gaps.push(onGap)
      return port.subscribe(channel, message => {
        onMessage(message)
        release()
      }, onGap)
    },
    ready: () => port.ready(),
    health: () => port.health(),
    state: () => port.state(),
    close: () => port.close()
  }
  const gap = (): void => {
    for (const onGap of gaps) onGap()
  }
  return { redis, answers: () => answers, release, gap }
}

for (const what of ['set', 'flush'] as const) {
  t.test(
    `an answer that was on its way when its key changed by ${what} is not kept`,
    { skip: noRedis },
    async t => {
      const redis = freshRedisOptions()
      const port = openRedis(redis)
      t.teardown(() => port.close())
      const held = heldReads(port)
      const cache = cacheOf(await app(t, { redis: held.redis, local: { ttl: '10m' } }), 'acme')
      const other = cacheOf(await app(t, { redis, local: { ttl: '10m' } }), 'acme')
      await cacheOf(await app(t, { redis }), 'acme').set('k', 'old') // publishes no change
      const reading = cache.get('k')
      await until(() => held.answers() === 1)
      await (what === 'set' ? other.set('k', 'new') : other.flush())
      await reading
      t.equal(await cache.get('k'), what === 'set' ? 'new' : undefined)
    }
  )
}

t.test('an answer that was on its way when messages were lost is not kept', { skip: noRedis }, async t => {
  const redis = freshRedisOptions()
  const port = openRedis(redis)
  t.teardown(() => port.close())
  const held = heldReads(port)
  const cache = cacheOf(await app(t, { redis: held.redis, local: { ttl: '10m' } }), 'acme')
  const quiet = cacheOf(await app(t, { redis }), 'acme') // publishes no change
  await quiet.set('k', 'old')
  await quiet.set('other', 1)
  const reading = cache.get('k')
  await until(() => held.answers() === 1)
  await quiet.set('k', 'new')
  held.gap()
  t.equal(await cache.get('other'), 1, 'the tenant has copies again before the reply arrives')
  held.release()
  t.equal(await reading, 'old')
  t.equal(await cache.get('k'), 'new')
})

t.test('an unknown message drops all copies', { skip: noRedis }, async t => {
  const { redis, one } = await two(t)
  const raw = freshRedis(t)
  const quiet = cacheOf(await app(t, { redis }), 'acme')
  await quiet.set('k', 'old')
  t.equal(await one.get('k'), 'old')
  await quiet.set('k', 'new')
  await raw.publish(`${redis.keyPrefix}tenancy:test:cache`, 'not json')
  await until(async () => await one.get('k') === 'new')
})
