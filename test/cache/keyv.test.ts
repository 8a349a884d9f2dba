// A tenant's cache as the store of the keyv library: its current version, and the previous one that
// other libraries still use.
import { Redis } from 'ioredis'
import Keyv from 'keyv'
import { Keyv as Keyv5 } from 'keyv-5'
import t from 'tap'

import { installationKey, tenantKey } from '@fastify-tenancy/core/keys'

import { until } from '../support/until.ts'
import { freshRedisOptions, noRedis } from '../support/fresh.ts'
import { appWith, cacheOf } from './stub.ts'

interface Store {
  get(key: string): Promise<unknown>
  set(key: string, value: unknown, ttl?: number): Promise<unknown>
  delete(key: string): Promise<unknown>
  has(key: string): Promise<boolean>
  clear(): Promise<void>
}

for (
  const [version, make] of Object.entries<(store: object) => Store>({
    6: store => new Keyv({ store }),
    5: store => new Keyv5({ store })
  })
) {
  t.test(`Keyv ${version} on a tenant's cache: values, lives and clear() are that tenant's own`, {
    skip: noRedis
  }, async t => {
    const app = await appWith({ redis: freshRedisOptions() })
    t.teardown(() => app.close())
    await app.ready()
    const [a, b] = ['a', 'b'].map(id => make(cacheOf(app, id).toKeyv())) as [Store, Store]
    for (const [store, of] of [[a, 'a'], [b, 'b']] as const) await store.set('k', { of })
    t.same([await a.get('k'), await b.get('k')], [{ of: 'a' }, { of: 'b' }])
    t.equal(await a.get('none'), undefined)
    await a.set('short', 1, 30)
    await until(async () => await a.get('short') === undefined)
    t.equal(await a.has('k'), true)
    await a.delete('k')
    t.equal(await a.has('k'), false)
    await a.set('k', 'again')
    await a.clear()
    t.same([await a.get('k'), await b.get('k')], [undefined, { of: 'b' }])
  })
}

/** A store under the name that its library uses. */
const versions: Record<string, (store: object, namespace?: string) => Store> = {
  6: (store, namespace) => new Keyv({ store, ...(namespace !== undefined && { namespace }) }),
  5: (store, namespace) => new Keyv5({ store, ...(namespace !== undefined && { namespace }) })
}

for (const [version, make] of Object.entries(versions)) {
  for (const where of ['in Redis', 'in process'] as const) {
    t.test(`Keyv ${version} ${where}: clear() removes the values of its namespace and nothing else`, {
      skip: where === 'in Redis' && noRedis
    }, async t => {
      const app = await appWith(where === 'in Redis' ? { redis: freshRedisOptions() } : {})
      t.teardown(() => app.close())
      await app.ready()
      const cache = cacheOf(app, 'a')
      await cache.set('own', 'of the application')
      const stores = {
        sessions: make(cache.toKeyv('sessions')),
        tokens: make(cache.toKeyv('tokens')),
        // The same characters, split at another place.
        's:essions': make(cache.toKeyv('s:essions')),
        'named by Keyv': make(cache.toKeyv(), 'sessions-of-keyv')
      }
      for (const [name, store] of Object.entries(stores))
        for (const key of ['k', 'essions:k']) await store.set(key, name)
      for (const [name, store] of Object.entries(stores))
        t.same([await store.get('k'), await store.get('essions:k')], [name, name], name)
      const left = new Set(Object.keys(stores))
      for (const [name, store] of Object.entries(stores)) {
        await store.clear()
        left.delete(name)
        for (const [other, store] of Object.entries(stores))
          t.equal(await store.get('k'), left.has(other) ? other : undefined, `${other} after ${name}.clear()`)
        t.equal(await cache.get('own'), 'of the application')
        await store.set('k', 'again')
        t.equal(await store.get('k'), 'again', 'a cleared namespace is used again')
        await store.delete('k')
      }
      t.throws(() => cache.toKeyv(''), { code: 'FST_TENANCY_OPTION_INVALID' })
      await cache.toKeyv().clear()
      t.equal(await cache.get('own'), undefined, 'without a namespace it is the whole tenant')
    })
  }
}

t.test('a counter whose text is no number reads as a miss, never as NaN', { skip: noRedis }, async t => {
  const redis = freshRedisOptions()
  const app = await appWith({ redis })
  t.teardown(() => app.close())
  await app.ready()
  const raw = new Redis(redis)
  t.teardown(() => {
    raw.disconnect()
  })
  const cache = cacheOf(app, 'a')
  const key = installationKey('test', tenantKey('a', 'cache', 'kn'))
  await cache.increment('n', 5)
  const entry = await raw.get(key) ?? ''
  for (const text of ['', ' ', 'x', '1.5', '1e3', 'NaN', '9'.repeat(20), '0x10', '-']) {
    await raw.set(key, entry.replace(/\d+$/, text))
    t.equal(await cache.get('n'), undefined, JSON.stringify(text))
    t.same(await cache.getMany(['n']), [undefined])
    t.equal(await cache.has('n'), false)
    t.equal(await cache.wrap('n', () => 7), 7, 'and is loaded anew')
  }
  await raw.set(key, entry)
  t.equal(await cache.get('n'), 5)
})
