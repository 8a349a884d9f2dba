// A tenant's cache behind the library itself: the version of today, and the one before it that libraries still take.
import Keyv from 'keyv'
import { Keyv as Keyv5 } from 'keyv-5'
import t from 'tap'

import { until } from '../support/until.ts'
import { freshRedisOptions, noRedis } from '../support/fresh.ts'
import { appWith, cacheOf } from './stub.ts'

interface Store {
  get (key: string): Promise<unknown>
  set (key: string, value: unknown, ttl?: number): Promise<unknown>
  delete (key: string): Promise<unknown>
  has (key: string): Promise<boolean>
  clear (): Promise<void>
}

for (const [version, make] of Object.entries<(store: object) => Store>({ 6: store => new Keyv({ store }), 5: store => new Keyv5({ store }) })) {
  t.test(`Keyv ${version} on a tenant's cache: values, lives and clear() are that tenant's own`, { skip: noRedis }, async t => {
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
