// What the cache does to a real Redis, and how an outage of Redis affects the cache.
import type { FastifyInstance } from 'fastify'
import { Redis } from 'ioredis'
import { setImmediate } from 'node:timers/promises'
import t, { type Test } from 'tap'

import { openCache, resolveCacheOptions } from '@fastify-tenancy/cache'
import type { ScopeLogger } from '@fastify-tenancy/core'
import { tenantKey } from '@fastify-tenancy/core/keys'
import { ScopeTransaction } from '@fastify-tenancy/core/scope'
import { openRedis } from '@fastify-tenancy/redis'

import { RedisStore } from '../../packages/cache/src/redis-store.ts'
import { freshRedisOptions, noRedis } from '../support/fresh.ts'
import { startCluster } from '../support/cluster.ts'
import { startRedis, type RedisService } from '../support/services.ts'
import { until } from '../support/until.ts'
import { appWith, cacheOf, scopeOf, silent } from './stub.ts'

async function server (t: Test): Promise<RedisService & { raw: Redis }> {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  const raw = new Redis(redis.url)
  raw.on('error', () => {})
  t.teardown(() => {
    raw.disconnect()
  })
  return { ...redis, raw }
}

const keysOf = (count: number): string[] => Array.from({ length: count }, (_, at) => `k${at}`)

t.test(
  'every key is one tenant’s, has that tenant’s hash tag, and ends by itself',
  { skip: noRedis },
  async t => {
    const { url, raw } = await server(t)
    const app = await appWith({ redis: url })
    t.teardown(() => app.close())
    await app.ready()
    const cache = cacheOf(app, 'acme')
    await cache.set('a', 1, { tags: ['x'] })
    await cache.set('long', 1, { ttl: '7d' })
    await cache.set('k'.repeat(2_000), 1)
    await cache.wrap('b', () => 1, { tags: ['y'], staleFor: '1m', lock: true })
    await cache.increment('c')
    await cache.delete('d')
    await cache.invalidateTag('z')
    await cache.flush()
    const keys = await raw.keys('*')
    t.ok(keys.length > 8)
    for (const key of keys) {
      t.match(key, /^tenancy:test:\{acme\}:/)
      t.ok(key.length < 600)
      t.ok(await raw.pttl(key) > 0, key)
    }
  }
)

t.test(
  'RED-07 flush is one command and touches no tenant with a similar name',
  { skip: noRedis },
  async t => {
    const { url, raw } = await server(t)
    const app = await appWith({ redis: url })
    t.teardown(() => app.close())
    await app.ready()
    const keys = keysOf(50)
    const fill = async (): Promise<void> => {
      for (const id of ['a', 'ab', 'a-b'])
        for (const key of keys) await cacheOf(app, id).set(key, `${id}:${key}`)
    }
    const survivors = async (): Promise<string[]> => {
      const left = []
      for (const id of ['a', 'ab', 'a-b'])
        left.push(...(await cacheOf(app, id).getMany(keys)).filter(value => value !== undefined))
      return left.map(String)
    }
    const calls = async (): Promise<number> =>
      [...(await raw.info('commandstats')).matchAll(/^cmdstat_(?!info|config)\S+:calls=(\d+)/gm)].reduce(
        (sum, [, n]) => sum + Number(n),
        0
      )
    await fill()
    await raw.config('RESETSTAT')
    await cacheOf(app, 'a').flush()
    t.equal(await calls(), 1)
    t.equal((await survivors()).length, 100)
    t.notOk((await survivors()).some(value => value.startsWith('a:')))

    // Control: the obvious but wrong flush, by a pattern over the tenant's name.
    await fill()
    const pattern = (await raw.keys('*a*')).filter(key => key.includes('cache:k'))
    await raw.del(...pattern)
    t.equal((await survivors()).length, 0, 'the harness sees a flush that takes others with it')
  }
)

t.test('a value of another generation, a broken and a foreign one are misses and replaced', {
  skip: noRedis
}, async t => {
  const { url, raw } = await server(t)
  const app = await appWith({ redis: url })
  t.teardown(() => app.close())
  await app.ready()
  const cache = cacheOf(app, 'acme')
  await cache.set('k', 'good')
  const [key = ''] = await raw.keys('*:cache:*')
  const good = await raw.get(key) ?? ''
  for (
    const bad of ['', 'x', '"json"', good.slice(0, 20), good.replace('\n', ''), good.slice(0, -2),
      good.replace('\n', '[1\n'), `${good.startsWith('x') ? 'y' : 'x'}${good.slice(1)}`]
  ) {
    await raw.set(key, bad)
    t.equal(await cache.get('k'), undefined, JSON.stringify(bad))
    t.equal(await cache.wrap('k', () => 'new'), 'new')
    t.equal(await cache.get('k'), 'new')
  }
})

t.test('TTL jitter shortens lives, by its part at most', { skip: noRedis }, async t => {
  const { url, raw } = await server(t)
  const app = await appWith({ redis: url, ttl: '100s', jitter: 0.5 })
  t.teardown(() => app.close())
  await app.ready()
  for (const key of keysOf(50)) await cacheOf(app, 'acme').set(key, 1)
  const lives = await Promise.all((await raw.keys('*:cache:*')).map(key => raw.pttl(key)))
  t.ok(Math.min(...lives) > 49_000)
  t.ok(Math.max(...lives) <= 100_000)
  t.ok(Math.max(...lives) - Math.min(...lives) > 10_000)
})

t.test('RED-11 FLUSHALL under load: one load a key, no older value and no error', {
  skip: noRedis
}, async t => {
  const { url, raw } = await server(t)
  const app = await appWith({ redis: url })
  t.teardown(() => app.close())
  await app.ready()
  const [ids, keys] = [['a', 'b', 'c'], keysOf(5)]
  let loads = 0
  const asked = Array.from({ length: 600 }, (_, at) => ({ id: ids[at % 3] ?? '', key: keys[at % 5] ?? '' }))
  const everyone = async (): Promise<void> => {
    const values = await Promise.all(asked.map(({ id, key }) =>
      cacheOf(app, id).wrap(key, async () => {
        loads++
        await setImmediate()
        return `${id}:${key}`
      })
    ))
    t.same(values, asked.map(({ id, key }) => `${id}:${key}`))
  }
  await everyone()
  t.equal(loads, 15)
  for (let round = 1; round <= 3; round++) {
    const busy = everyone()
    await raw.flushall()
    await busy
    await everyone()
    t.ok(loads <= 15 + round * 30, `${loads} loads after ${round} FLUSHALL`)
  }
})

for (const onStoreError of ['miss', 'throw'] as const) {
  t.test(
    `RED-02 onStoreError '${onStoreError}': in an outage each call behaves as configured, at once`,
    { skip: noRedis },
    async t => {
      const { url, process } = await server(t)
      const app = await appWith({ redis: url, onStoreError })
      t.teardown(() => app.close())
      await app.ready()
      const cache = cacheOf(app, 'acme')
      await cache.set('k', 'kept')
      process.kill('SIGSTOP')
      t.teardown(() => {
        process.kill('SIGCONT')
      })
      const down = { code: 'FST_TENANCY_REDIS_UNAVAILABLE' }
      if (onStoreError === 'miss') {
        t.equal(await cache.get('k'), undefined)
        t.equal(await cache.has('k'), false)
        t.same(await cache.getMany(['k', 'j']), [undefined, undefined])
        await cache.set('k', 'new')
        t.equal(await cache.wrap('k', () => 'loaded', { tags: ['x'], lock: true, staleFor: '1s' }), 'loaded')
      } else {
        await t.rejects(cache.get('k'), down)
        await t.rejects(cache.has('k'), down)
        await t.rejects(cache.getMany(['k']), down)
        await t.rejects(cache.set('k', 1), down)
        await t.rejects(cache.wrap('k', () => t.fail()), down)
      }
      await t.rejects(cache.delete('k'), down)
      await t.rejects(cache.increment('k'), down)
      await t.rejects(cache.flush(), down)
      await t.rejects(cache.invalidateTag('k'), down)
      t.same(app.tenantCache.health(), { store: 'redis', status: 'down' })
      let loads = 0
      if (onStoreError === 'miss') {
        await Promise.all(Array.from({ length: 100 }, () =>
          cache.wrap('k', async () => {
            await setImmediate()
            return ++loads
          })))
        t.equal(loads, 1, 'loads of one key stay one in an outage')
        const ids = ['acme', 'globex', 'initech']
        t.same(
          await Promise.all(ids.map(id =>
            cacheOf(app, id).wrap('who', async () => {
              await setImmediate()
              return id
            })
          )),
          ids,
          'and no tenant waits for another’s'
        )
      }
      process.kill('SIGCONT')
      await until(() =>
        app.tenantCache.health().status === 'ok' || cache.has('k').then(() => false, () => false)
      )
      // Redis executed the commands when it thawed. So an error means that the outcome is unknown.
      t.ok(['kept', 'new', 1, undefined].includes(await cache.get('k')))
    }
  )
}

t.test(
  'an outage is logged once, and its end, whatever is asked of the cache meanwhile',
  { skip: noRedis },
  async t => {
    let redis = await startRedis()
    t.teardown(() => redis.stop())
    const lines: string[] = []
    const log: ScopeLogger = {
      ...silent,
      info: (_, line) => lines.push(line),
      warn: (_, line) => lines.push(line),
      error: (_, line) => lines.push(line)
    }
    const caches = openCache(resolveCacheOptions({ redis: redis.url }), log)
    t.teardown(() => caches.close())
    await caches.start()
    const scope = scopeOf('acme', log)
    const transaction = scope.transaction = new ScopeTransaction()
    const cache = caches.forScope(scopeOf('acme', log))
    await cache.set('k', 1)
    await redis.stop()
    for (let at = 0; at < 20; at++) {
      t.equal(await cache.get('k'), undefined)
      t.equal(await cache.wrap('k', () => 1, { lock: true, tags: ['x'] }), 1)
      await t.rejects(cache.delete('k'))
      await t.rejects(cache.flush())
    }
    await caches.forScope(scope).delete('k')
    await transaction.committed()
    t.match(lines, [/^the cache cannot reach Redis/])
    t.equal(lines.length, 1)
    redis = await startRedis({ port: redis.port })
    await until(async () => await cache.wrap('k', () => 2) === 2 && await cache.get('k') === 2)
    t.match(lines[1], /^the cache reaches Redis again/)
    t.equal(lines.length, 2)
  }
)

t.test(
  'each kind of refusal by Redis is logged once, without the value',
  { skip: noRedis },
  async t => {
    const { url, raw } = await server(t)
    const lines: string[] = []
    const hear = (details: object, line: string): void => {
      lines.push(`${line} ${JSON.stringify(details)}`)
    }
    const caches = openCache(resolveCacheOptions({ redis: url }), {
      ...silent,
      info: hear,
      warn: hear,
      error: hear
    })
    t.teardown(() => caches.close())
    await caches.start()
    const cache = caches.forScope(scopeOf('acme'))
    await raw.call('ACL', 'SETUSER', 'default', '-mget')
    await raw.rpush(tenantKey('acme', 'cache-epoch'), 'no token')
    for (let at = 0; at < 3; at++) {
      t.equal(await cache.get('k'), undefined)
      await cache.set('k', 'a secret')
    }
    t.match(lines, [/^Redis refuses what the cache asks of it.*NOPERM/,
      /^Redis refuses what the cache asks of it.*WRONGTYPE/])
    t.equal(lines.length, 2)
    t.notMatch(lines.join(), /secret|acme/)
  }
)

t.test('RED-01 Redis down at boot: the app starts, the cache misses, and fills when Redis is there', {
  skip: noRedis
}, async t => {
  const first = await startRedis()
  await first.stop()
  const app = await appWith({ redis: first.url, local: {} })
  t.teardown(() => app.close())
  await app.ready()
  const cache = cacheOf(app, 'acme')
  t.equal(await cache.wrap('k', () => 1), 1)
  t.equal(await cache.get('k'), undefined)
  const redis = await startRedis({ port: first.port })
  t.teardown(() => redis.stop())
  await until(async () => await cache.wrap('k', () => 2) === 2 && await cache.get('k') === 2)
})

t.test('a thousand concurrent misses send a handful of commands', { skip: noRedis }, async t => {
  const { url, raw } = await server(t)
  const app = await appWith({ redis: url })
  t.teardown(() => app.close())
  await app.ready()
  await raw.config('RESETSTAT')
  const values = await Promise.all(
    Array.from({ length: 1_000 }, () => cacheOf(app, 'acme').wrap('k', () => 'loaded', { tags: ['x'] }))
  )
  t.same(new Set(values), new Set(['loaded']))
  const processed = Number(/total_commands_processed:(\d+)/.exec(await raw.info('stats'))?.[1])
  t.ok(processed < 30, `${processed} commands, those inside scripts included`)
})

t.test('with lock, 250 misses in each of four processes are one load', { skip: noRedis }, async t => {
  const redis = freshRedisOptions()
  // Each app has its own client and its own loads, as a process has.
  const apps = await Promise.all([1, 2, 3, 4].map(() => appWith({ redis })))
  t.teardown(() => Promise.all(apps.map(app => app.close())))
  await Promise.all(apps.map(app => app.ready()))
  let loads = 0
  const load = async (): Promise<number> => {
    for (let i = 0; i < 20; i++) await setImmediate()
    return ++loads
  }
  const all = (lock: boolean): Promise<number[]> =>
    Promise.all(
      apps.flatMap(app =>
        Array.from({ length: 250 }, () => cacheOf(app, 'acme').wrap(`k${lock}`, load, { lock }))
      )
    )
  t.same(new Set(await all(true)), new Set([1]))
  t.equal(loads, 1)
  await all(false)
  t.ok(loads > 2, 'the control: without lock it is one a process')
})

t.test('a lock whose holder died is taken over', { skip: noRedis }, async t => {
  const { url, raw } = await server(t)
  const app = await appWith({ redis: url })
  t.teardown(() => app.close())
  await app.ready()
  const cache = cacheOf(app, 'acme')
  await raw.set('tenancy:test:{acme}:lock:kk', 'a process that died', 'PX', 100)
  t.equal(await cache.wrap('k', () => 'loaded', { lock: true }), 'loaded')
  t.equal(await raw.exists('tenancy:test:{acme}:lock:kk'), 0, 'and given back')
})

t.test('a lock that expired is not released by its former holder', { skip: noRedis }, async t => {
  const { url, raw } = await server(t)
  const redis = openRedis(url)
  t.teardown(() => redis.close())
  await redis.ready()
  const store = new RedisStore(redis, silent)
  const first = await store.lock('acme', 'k', 10)
  const second = await until(() => store.lock('acme', 'k', 60_000))
  t.equal(await store.lock('acme', 'k', 60_000), undefined)
  await first?.()
  t.equal(await raw.exists('tenancy:{acme}:lock:kk'), 1)
  await second()
  t.equal(await raw.exists('tenancy:{acme}:lock:kk'), 0)
})

t.test('on a Cluster of three every method works, and flush leaves no value of the tenant reachable', {
  skip: noRedis
}, async t => {
  const cluster = await startCluster(t)
  const [app, other] = await Promise.all([1, 2].map(async () => {
    const app = await appWith({ redis: cluster.client({ keyPrefix: 'app:' }), local: { ttl: '1m' } })
    t.teardown(() => app.close())
    await app.ready()
    return app
  })) as [FastifyInstance, FastifyInstance]
  const ids = ['a', 'b', 'c', 'd', 'e']
  for (const id of ids) {
    const cache = cacheOf(app, id)
    for (const key of keysOf(10)) await cache.set(key, `${id}:${key}`, { tags: ['even', key] })
    t.equal(await cache.increment('n'), 1)
    t.equal(await cache.wrap('w', () => id, { tags: ['x'], lock: true, staleFor: '1m' }), id)
    t.same(await cache.getMany(keysOf(10)), keysOf(10).map(key => `${id}:${key}`))
    t.equal(await cache.delete('k0', 'k1', 'n'), 3)
    await cache.invalidateTag('k2')
    t.same(await cache.getMany(keysOf(4)), [undefined, undefined, undefined, `${id}:k3`])
    t.equal(await cache.toKeyv().get('k3'), `${id}:k3`)
  }
  t.same(
    await Promise.all(ids.map(id => cacheOf(other, id).get('k9'))),
    ids.map(id => `${id}:k9`),
    'tenants of any slot in one turn'
  )
  const admins = cluster.nodes.map(({ url }) => new Redis(url))
  t.teardown(() => {
    for (const admin of admins) admin.disconnect()
  })
  const stored = async (): Promise<string[]> =>
    (await Promise.all(admins.map(admin => admin.keys('app:tenancy:test:{a}:cache:k*')))).flat()
  const reachable = async (by: FastifyInstance): Promise<unknown[]> => {
    const keys = (await stored()).map(key => key.slice('app:tenancy:test:{a}:cache:k'.length))
    return (await cacheOf(by, 'a').getMany(keys)).filter(value => value !== undefined)
  }
  t.ok((await reachable(other)).length >= 8, 'the control: what is stored is reachable')
  await cacheOf(app, 'a').flush()
  t.ok((await stored()).length >= 8, 'it is still there')
  t.same(await reachable(app), [])
  await until(async () => (await reachable(other)).length === 0) // a message drops its local copies
  t.equal(await cacheOf(app, 'b').get('k9'), 'b:k9')
})
