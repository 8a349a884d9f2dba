// One suite for both stores: the behaviour of request.cache on any store.
import { setImmediate } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'

import type { CacheOptions, TenantCacheHandle as Cache } from '@fastify-tenancy/cache'

import { freshRedisOptions, noRedis } from '../support/fresh.ts'
import { until } from '../support/until.ts'
import { appWith, cacheOf, scopeOf } from './stub.ts'

const stores: { name: string; skip: string | false; options: () => CacheOptions }[] = [
  { name: 'memory', skip: false, options: () => ({}) },
  { name: 'Redis', skip: noRedis, options: () => ({ redis: freshRedisOptions() }) },
  {
    name: 'Redis, signed',
    skip: noRedis,
    options: () => ({ redis: freshRedisOptions(), secret: 'a secret of the tests, 32 characters and more' })
  },
  { name: 'Redis and local tier', skip: noRedis, options: () => ({ redis: freshRedisOptions(), local: {} }) }
]

/** A promise and the functions that settle it. */
function gate<T = void> (): { opened: Promise<T>; open: (value: T) => void; fail: (error: Error) => void } {
  const { promise, resolve, reject } = Promise.withResolvers<T>()
  return { opened: promise, open: resolve, fail: reject }
}

const failing = (): Promise<never> => Promise.reject(new Error('no'))

const refused = (message: RegExp): { code: string; message: RegExp } => ({
  code: 'FST_TENANCY_OPTION_INVALID',
  message
})

for (const { name, skip, options } of stores) {
  const fresh = async (t: Test, more: CacheOptions = {}): Promise<FastifyInstance> => {
    const app = await appWith({ ...options(), ...more })
    t.teardown(() => app.close())
    await app.ready()
    return app
  }

  t.test(`${name}: a miss is undefined, null is a value, undefined is not stored`, { skip }, async t => {
    const cache = cacheOf(await fresh(t), 'acme')
    t.equal(await cache.get('k'), undefined)
    t.equal(await cache.has('k'), false)
    await cache.set('k', null)
    t.equal(await cache.get('k'), null)
    t.equal(await cache.has('k'), true)
    await cache.set('k', undefined)
    t.equal(await cache.get('k'), null, 'and leaves what was there')
    t.equal(await cache.wrap('none', () => undefined), undefined)
    t.equal(await cache.has('none'), false)
    for (const value of ['', 'text', 0, -1.5, true, false, [], {}, [1, [2]], { a: { b: null } }]) {
      await cache.set('k', value)
      t.same(await cache.get('k'), value)
    }
  })

  t.test(`${name}: a value comes back as from the store on the first call too, a copy for each caller`, {
    skip
  }, async t => {
    const cache = cacheOf(await fresh(t), 'acme')
    const made = { at: new Date(0), not: undefined }
    const [first, second] = await Promise.all([cache.wrap<unknown>('k', () => made),
      cache.wrap<unknown>('k', () => made)])
    t.same(first, { at: '1970-01-01T00:00:00.000Z' })
    t.same(second, first)
    t.not(second, first)
    t.same(await cache.wrap<unknown>('k', () => t.fail('stored')), first)
  })

  t.test(`${name}: getMany answers in the order of its keys`, { skip }, async t => {
    const cache = cacheOf(await fresh(t), 'acme')
    await cache.set('a', 1)
    await cache.set('b', 2, { tags: ['t'] })
    t.same(await cache.getMany(['b', 'none', 'a', 'b']), [2, undefined, 1, 2])
    t.same(await cache.getMany([]), [])
  })

  t.test(`${name}: delete says how many there were`, { skip }, async t => {
    const cache = cacheOf(await fresh(t), 'acme')
    await cache.set('a', 1)
    await cache.set('b', 2)
    t.equal(await cache.delete('a', 'none', 'b'), 2)
    t.same(await cache.getMany(['a', 'b']), [undefined, undefined])
    t.equal(await cache.delete('a'), 0)
    t.equal(await cache.delete(), 0)
    await cache.set('a', 3)
    t.equal(await cache.get('a'), 3, 'a deleted key can be set at once')
  })

  t.test(`${name}: increment counts also concurrently and refuses non-integers`, {
    skip
  }, async t => {
    const cache = cacheOf(await fresh(t), 'acme')
    t.equal(await cache.increment('n'), 1)
    t.equal(await cache.increment('n', 10), 11)
    t.equal(await cache.increment('n', -12, { ttl: '1h' }), -1)
    t.equal(await cache.get('n'), -1)
    await Promise.all(Array.from({ length: 50 }, () => cache.increment('many')))
    t.equal(await cache.get('many'), 50)
    await cache.set('set', 5)
    t.equal(await cache.increment('set', 2), 7)
    await cache.set('text', 'five')
    await t.rejects(cache.increment('text'), { code: 'FST_TENANCY_CACHE_VALUE_REFUSED' })
    t.equal(await cache.get('text'), 'five')
    for (const by of [0.5, Number.NaN, Infinity, '1'])
      await t.rejects(cache.increment('n', by as number), { code: 'FST_TENANCY_CACHE_VALUE_REFUSED' })
    await cache.increment('big', Number.MAX_SAFE_INTEGER)
    await t.rejects(cache.increment('big'), { code: 'FST_TENANCY_CACHE_VALUE_REFUSED' })
    await cache.delete('n')
    t.equal(await cache.increment('n'), 1, 'from nothing after a delete')
    await cache.flush()
    t.equal(await cache.increment('n', 4), 4, 'and after a flush')
  })

  t.test(
    `RED-06 ${name}: any string is a key, and no key of one tenant reads another's`,
    { skip },
    async t => {
      const app = await fresh(t)
      const keys = ['', ' ', ':', '*', '?', '[', 'a:b', '}', '{b}', '\n', '\r\n', '\0', '__proto__',
        'constructor', 'é', '💥', '\ud83d', '\ud83c', 'x'.repeat(1_048_576), 'x'.repeat(1_048_575) + 'y',
        'kx', 'x'.repeat(512), 'x'.repeat(513)]
      const ids = ['a', 'ab', 'b', 'A']
      for (const id of ids) {
        const cache = cacheOf(app, id)
        for (const [at, key] of keys.entries()) await cache.set(key, `${id}:${at}`)
      }
      for (const id of ids)
        t.same(await cacheOf(app, id).getMany(keys), keys.map((_, at) => `${id}:${at}`), id)
      // Keys that would equal another tenant's if they were simply concatenated.
      for (const key of ['b:x', '{b}:cache:kx', 'a}:cache:kx', '*'])
        t.equal(await cacheOf(app, 'none').get(key), undefined)
      await t.rejects(cacheOf(app, 'a').get(7 as never), TypeError)
    }
  )

  t.test(`RED-07 ${name}: flush removes all of one tenant and nothing of another`, { skip }, async t => {
    const app = await fresh(t)
    const ids = ['a', 'ab', 'a-', 'a_', 'A', 'b']
    for (const id of ids)
      for (let at = 0; at < 20; at++)
        await cacheOf(app, id).set(`k${at}`, `${id}:${at}`, at % 2 ? { tags: ['t'] } : {})
    await cacheOf(app, 'a').flush()
    const keys = Array.from({ length: 20 }, (_, at) => `k${at}`)
    t.same(
      await cacheOf(app, 'a').getMany(keys),
      keys.map(() => undefined)
    )
    for (const id of ids.slice(1))
      t.same(
        await cacheOf(app, id).getMany(keys),
        keys.map((_, at) => `${id}:${at}`),
        id
      )
    await cacheOf(app, 'a').set('k0', 'new')
    t.equal(await cacheOf(app, 'a').get('k0'), 'new')
  })

  t.test(`${name}: invalidateTag removes only this tenant's entries with the tag`, { skip }, async t => {
    const app = await fresh(t)
    const [a, b] = [cacheOf(app, 'a'), cacheOf(app, 'b')]
    await a.set('one', 1, { tags: ['x'] })
    await a.set('two', 2, { tags: ['y', 'x'] })
    await a.set('three', 3, { tags: ['y', ' ":,[]\n'] })
    await a.set('four', 4)
    await b.set('one', 'b', { tags: ['x'] })
    await a.invalidateTag('x')
    t.same(await a.getMany(['one', 'two', 'three', 'four']), [undefined, undefined, 3, 4])
    t.equal(await b.get('one'), 'b')
    await a.invalidateTag(' ":,[]\n')
    await a.invalidateTag('never used')
    t.same(await a.getMany(['three', 'four']), [undefined, 4])
    await a.wrap('five', () => 5, { tags: ['x'] })
    t.equal(await a.get('five'), 5)
    await a.invalidateTag('x')
    t.equal(await a.get('five'), undefined)
  })

  for (
    const [what, change] of Object.entries({
      'a flush': (cache: Cache) => cache.flush(),
      'a delete': (cache: Cache) => cache.delete('k'),
      'a set': (cache: Cache) => cache.set('k', 'set'),
      'an invalidated tag': (cache: Cache) => cache.invalidateTag('t')
    })
  ) {
    for (const prior of ['an empty tenant', 'a tenant in use', 'the key just deleted']) {
      t.test(
        `${name}: a load overtaken by ${what} is not stored, and later readers load anew (${prior})`,
        { skip },
        async t => {
          const app = await fresh(t)
          const [slow, other] = [cacheOf(app, 'a'), cacheOf(app, 'a')]
          if (prior !== 'an empty tenant') await other.set('k', 'older', { tags: ['t'] })
          if (prior === 'a tenant in use') await other.flush()
          if (prior === 'the key just deleted') await other.delete('k')
          const [started, go] = [gate(), gate<string>()]
          const loading = slow.wrap('k', () => {
            started.open()
            return go.opened
          }, { tags: ['t'] })
          await started.opened
          await change(other)
          const after = what === 'a set' ? 'set' : 'new'
          t.equal(await other.wrap('k', () => 'new', { tags: ['t'] }), after)
          go.open('old')
          t.equal(await loading, 'old', 'its caller has the value')
          t.equal(await other.get('k'), after, 'the store has not')
        }
      )

      if (what !== 'a set')
        t.test(`${name}: nor without a concurrent reader: ${what} (${prior})`, { skip }, async t => {
          const app = await fresh(t)
          const cache = cacheOf(app, 'a')
          if (prior !== 'an empty tenant')
            await cache.set('k', 'older', { tags: ['t'] })
          if (prior === 'a tenant in use')
            await cache.flush()
          if (prior === 'the key just deleted') await cache.delete('k')
          const [started, go] = [gate(), gate<string>()]
          const loading = cache.wrap('k', () => {
            started.open()
            return go.opened
          }, { tags: ['t'] })
          await started.opened
          await change(cache)
          go.open('old')
          await loading
          t.equal(await cache.get('k'), undefined)
        })
    }
  }

  t.test(
    `${name}: concurrent misses share one load per tenant`,
    { skip },
    async t => {
      const app = await fresh(t)
      let loads = 0
      const load = async (): Promise<number> => {
        await setImmediate()
        return ++loads
      }
      t.same(
        new Set(await Promise.all(Array.from({ length: 1_000 }, () => cacheOf(app, 'a').wrap('k', load)))),
        new Set([1])
      )
      t.equal(await cacheOf(app, 'b').wrap('k', load), 2)
      t.equal(loads, 2)
    }
  )

  t.test(
    `${name}: a failed load fails all its readers and is not kept`,
    { skip },
    async t => {
      const app = await fresh(t)
      const cache = cacheOf(app, 'a')
      const both = await Promise.allSettled([cache.wrap('k', failing), cache.wrap('k', failing)])
      t.same(both.map(result => result.status), ['rejected', 'rejected'])
      t.equal(await cache.wrap('k', () => 'yes'), 'yes')

      const aborted = scopeOf('a')
      const [started, go] = [gate(), gate<string>()]
      const first = app.tenantCache.forScope(aborted).wrap('j', () => {
        started.open()
        return go.opened
      })
      await started.opened
      const second = cacheOf(app, 'a').wrap('j', () => 'own')
      await cacheOf(app, 'a').get('j') // by now the second call has read the store and joined the load
      aborted.abort()
      go.fail(new Error('the handle is closed'))
      await t.rejects(first, { message: 'the handle is closed' })
      t.equal(await second, 'own')
    }
  )

  for (const lock of [false, true])
    t.test(
      `${name}: a value past its life is served by wrap alone while a new one is loaded, lock ${lock}`,
      { skip },
      async t => {
        const app = await fresh(t, { jitter: 0 })
        const cache = cacheOf(app, 'a')
        const options = { staleFor: '1m', lock }
        t.equal(await cache.wrap('k', () => 'old', { ttl: '1ms', staleFor: '1m' }), 'old')
        await until(async () => await cache.get('k') === undefined)
        const go = gate<string>()
        t.equal(await cache.wrap('k', () => go.opened, options), 'old')
        t.equal(await cache.wrap('k', () => t.fail('one refresh at a time'), options), 'old')
        go.open('new')
        await until(async () => await cache.get('k') === 'new')
        t.equal(await cache.wrap('k', () => t.fail('fresh')), 'new')
      }
    )

  t.test(`${name}: a value ends with its life`, { skip }, async t => {
    const cache = cacheOf(await fresh(t), 'a')
    await cache.set('k', 1, { ttl: '20ms' })
    await cache.increment('n', 1, { ttl: '20ms' })
    await until(async () => await cache.get('k') === undefined && await cache.get('n') === undefined)
    t.equal(await cache.increment('n'), 1)
  })

  t.test(`${name}: an oversized value is refused by set and returned unstored by wrap`, {
    skip
  }, async t => {
    const app = await fresh(t, { maxEntryBytes: 100 })
    const warnings: string[] = []
    const cache = app.tenantCache.forScope(scopeOf('a', {
      info () {},
      error () {},
      warn (_, message) {
        warnings.push(message)
      }
    }))
    const long = 'é'.repeat(50)
    await t.rejects(cache.set('k', long), {
      code: 'FST_TENANCY_CACHE_VALUE_REFUSED',
      message: /102 bytes, and maxEntryBytes is 100/
    })
    t.equal(await cache.wrap('k', () => long), long)
    t.equal(warnings.length, 1)
    t.equal(await cache.get('k'), undefined)
    await t.rejects(cache.set('k', 1n), { code: 'FST_TENANCY_CACHE_VALUE_REFUSED' })
    await t.rejects(cache.wrap('k', () => 1n), { code: 'FST_TENANCY_CACHE_VALUE_REFUSED' })
  })

  t.test(`${name}: a caller's serializer keeps what JSON loses, and counters stay numbers`, {
    skip
  }, async t => {
    const serializer = {
      stringify: (value: unknown) =>
        value instanceof Date ? `date ${value.getTime()}` : `json ${JSON.stringify(value)}`,
      parse (text: string): unknown {
        return text.startsWith('date ') ? new Date(Number(text.slice(5))) : JSON.parse(text.slice(5))
      }
    }
    const cache = cacheOf(await fresh(t, { serializer }), 'a')
    t.same(await cache.wrap('k', () => new Date(5)), new Date(5))
    t.same(await cache.get('k'), new Date(5))
    await cache.increment('n')
    t.equal(await cache.increment('n'), 2)
    t.equal(await cache.get('n'), 2)
    t.notOk(Object.isFrozen(serializer))
  })

  t.test(`${name}: a handle ends with its scope`, { skip }, async t => {
    const app = await fresh(t)
    const scope = scopeOf('a')
    const cache = app.tenantCache.forScope(scope)
    t.equal(app.tenantCache.forScope(scope), cache)
    await cache.set('k', 1)
    const keyv = cache.toKeyv()
    scope.end()
    const closed = { code: 'FST_TENANCY_SCOPE_CLOSED' }
    await t.rejects(cache.get('k'), closed)
    await t.rejects(cache.set('k', 1), closed)
    await t.rejects(cache.has('k'), closed)
    await t.rejects(cache.getMany(['k']), closed)
    await t.rejects(cache.delete('k'), closed)
    await t.rejects(cache.increment('k'), closed)
    await t.rejects(cache.wrap('k', () => 1), closed)
    await t.rejects(cache.invalidateTag('k'), closed)
    await t.rejects(cache.flush(), closed)
    await t.rejects(keyv.get('k'), closed)
  })

  t.test(`${name}: a wrong option of a call is refused with its name`, { skip }, async t => {
    const cache = cacheOf(await fresh(t), 'a')
    await t.rejects(
      cache.set('k', 1, { ttl: 30 } as never),
      refused(/^the options of cache\.set\(\)\.ttl must be a duration/)
    )
    await t.rejects(cache.set('k', 1, { staleFor: '1s' } as never), refused(/staleFor is not a known option/))
    await t.rejects(cache.wrap('k', () => 1, { staleFor: '0s' }), refused(/staleFor must be a duration/))
    await t.rejects(cache.wrap('k', () => 1, { tags: 'x' } as never), refused(/tags must be a list/))
    await t.rejects(cache.increment('k', 1, { tags: [] } as never), refused(/tags is not a known option/))
    t.equal(await cache.get('k'), undefined)
  })

  t.test(`${name}: toKeyv has the methods and units of a Keyv store`, { skip }, async t => {
    const app = await fresh(t)
    const store = cacheOf(app, 'a').toKeyv()
    await cacheOf(app, 'b').set('k', 'b')
    t.equal(await store.set('k', 'a', 60_000), true)
    t.equal(await store.set('j', 'a'), true)
    t.equal(await store.get('k'), 'a')
    t.same(await store.getMany(['k', 'none']), ['a', undefined])
    t.equal(await store.has('k'), true)
    t.equal(await store.delete('k'), true)
    t.equal(await store.delete('k'), false)
    t.equal(await store.deleteMany(['j']), true)
    await store.set('k', 'a')
    await store.clear()
    t.equal(await store.get('k'), undefined)
    t.equal(await cacheOf(app, 'b').get('k'), 'b')
  })

  t.test(`${name}: with lock, a value is loaded and served as without`, { skip }, async t => {
    const app = await fresh(t)
    const cache = cacheOf(app, 'a')
    let loads = 0
    t.same(
      new Set(
        await Promise.all(Array.from({ length: 20 }, () => cache.wrap('k', () => ++loads, { lock: true })))
      ),
      new Set([1])
    )
    t.equal(await cache.get('k'), 1)
  })
}
