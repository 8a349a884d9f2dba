// The published suite of a cache over both stores, and a cache that breaks each promise.
import { toTenant } from '@fastify-tenancy/core'
import { TenantScope } from '@fastify-tenancy/core/scope'
import { openCache, resolveCacheOptions } from '@fastify-tenancy/cache'
import { cacheConformance, virtualClock, type CacheUnderTest } from '@fastify-tenancy/testing'
import t from 'tap'

import { freshRedisOptions, noRedis } from '../support/fresh.ts'
import { silent } from '../cache/stub.ts'

const clock = virtualClock()
t.teardown(() => clock.restore())

async function openOn (options: object): Promise<(tenant: string) => CacheUnderTest> {
  const { forScope, start, close } = openCache(resolveCacheOptions({ jitter: 0, ...options }))
  t.teardown(close)
  await start()
  return id =>
    forScope(
      new TenantScope(toTenant({ id, slug: `s-${id}`.slice(0, 60).replace(/-$/, '') }), silent)
    ) as CacheUnderTest
}

const memory = await openOn({})
for (
  const { name, run } of cacheConformance(memory, { advance: milliseconds => clock.advance(milliseconds) })
)
  t.test(`memory: ${name}`, run)

t.test('Redis', { skip: noRedis }, async t => {
  const redis = await openOn({ redis: freshRedisOptions(), namespace: 'test' })
  for (const { name, run } of cacheConformance(redis)) await t.test(name, run)
})

type Change = (cache: CacheUnderTest) => Partial<CacheUnderTest>

// Each breaks one promise: a suite that stays green for one of them checks nothing there.
const broken: Record<string, Change> = {
  'a miss is undefined, null is a value, and undefined is not stored': cache => ({
    get: async key => await cache.get(key) ?? undefined
  }),
  'any string is a key, and keys that look alike are apart': cache => ({
    set: (key, value) => cache.set(key.normalize(), value),
    getMany: keys => cache.getMany(keys.map(key => key.normalize()))
  }),
  'a tenant does not see, count, change or remove the values of another': () => memory('shared-by-all'),
  'tenants whose ids and keys join to one text are apart': () => memory('shared-by-all'),
  'delete tells how many keys held a value': cache => ({
    delete: async (...keys) => await cache.delete(...keys) && keys.length
  }),
  'increments at once are all counted': cache => ({
    async increment (key, by = 1) {
      const sum = Number(await cache.get(key) ?? 0) + by
      await cache.set(key, sum)
      return sum
    }
  }),
  'a value comes back as it would from the store, from the first call on': () => {
    const kept = new Map<string, unknown>()
    return {
      get: async key => kept.get(key),
      wrap: async (key, load) => {
        if (!kept.has(key)) kept.set(key, await load())
        return kept.get(key) as never
      }
    }
  },
  'a load runs once for all that ask at the same time, and a failed one is not stored': () => ({
    wrap: async (_key, load) => load()
  }),
  'a load that was overtaken by a flush or a delete is not stored': cache => ({
    async wrap (key, load) {
      const value = await load()
      await cache.set(key, value)
      return value
    }
  }),
  'a tag removes what carries it, and nothing else': cache => ({ invalidateTag: () => cache.flush() }),
  'flush removes everything of the tenant': cache => ({
    flush: async () => {
      await cache.delete('k0', 'k1')
    }
  }),
  'a value ends with its ttl': cache => ({ set: (key, value) => cache.set(key, value) })
}

t.test('control: each check goes red for a cache that breaks its promise', async t => {
  const options = { advance: (milliseconds: number) => clock.advance(milliseconds) }
  t.same(cacheConformance(memory, options).map(({ name }) => name).toSorted(), Object.keys(broken).toSorted())
  for (const { name } of cacheConformance(memory, options)) {
    const open = (tenant: string): CacheUnderTest => {
      const cache = memory(tenant)
      const bound = Object.fromEntries(
        ['get', 'set', 'delete', 'has', 'getMany', 'increment', 'wrap', 'invalidateTag', 'flush'].map(
          method => [method, (...values: never[]) =>
            (cache as unknown as Record<string, (...values: never[]) => unknown>)[method]?.(...values)]
        )
      ) as unknown as CacheUnderTest
      const change = broken[name]?.(bound) ?? {}
      const changed = change instanceof Object && 'flush' in change && !Object.hasOwn(change, 'flush')
        ? change
        : { ...bound, ...change }
      return changed as CacheUnderTest
    }
    await t.rejects(
      cacheConformance(open, options).find(check =>
        check.name === name
      )?.run() ?? Promise.resolve(),
      {
        name: 'AssertionError'
      },
      name
    )
  }
})
