// Changes inside a request that is one transaction: visible to all after the commit, and discarded
// after a rollback.
import { Redis } from 'ioredis'
import t from 'tap'

import type { CacheOptions, TenantCacheHandle } from '@fastify-tenancy/cache'
import { ScopeTransaction } from '@fastify-tenancy/core/scope'

import { freshRedisOptions, noRedis } from '../support/fresh.ts'
import { appWith, cacheOf, scopeOf } from './stub.ts'

const changes: Record<string, (cache: TenantCacheHandle) => Promise<unknown>> = {
  set: cache => cache.set('k', 'inside'),
  wrap: cache => cache.wrap('missing', () => 'inside'),
  delete: cache => cache.delete('k'),
  invalidateTag: cache => cache.invalidateTag('t'),
  flush: cache => cache.flush()
}
const after: Record<string, unknown[]> = {
  set: ['inside', undefined],
  wrap: ['before', 'inside'],
  delete: [undefined, undefined],
  invalidateTag: [undefined, undefined],
  flush: [undefined, undefined]
}

for (
  const [store, options] of Object.entries<() => CacheOptions>({
    memory: () => ({}),
    Redis: () => ({ redis: freshRedisOptions() })
  })
) {
  const skip = store === 'Redis' && noRedis
  for (const [what, change] of Object.entries(changes)) {
    t.test(
      `TXN-01 ${store}: ${what} inside a transaction waits for its commit`,
      { skip },
      async t => {
        const app = await appWith(options())
        t.teardown(() => app.close())
        await app.ready()
        const others = cacheOf(app, 'acme')
        const seen = (): Promise<unknown[]> => others.getMany(['k', 'missing'])
        for (const end of ['rolledBack', 'committed'] as const) {
          await others.set('k', 'before', { tags: ['t'] })
          const scope = scopeOf('acme')
          scope.transaction = new ScopeTransaction()
          const cache = app.tenantCache.forScope(scope)
          await change(cache)
          t.same(await seen(), ['before', undefined], 'others see nothing of it')
          if (what !== 'wrap') {
            t.equal(await cache.get('k'), undefined, 'the request itself does not see what it changed')
            t.same(await cache.getMany(['k']), [undefined])
            t.equal(await cache.wrap('k', () => 'loaded inside'), 'loaded inside')
          }
          await scope.transaction[end]()
          t.same(await seen(), end === 'committed' ? after[what] : ['before', undefined], end)
        }
      }
    )
  }

  t.test(
    `TXN-01 ${store}: a load inside a transaction is not shared, nor kept when overtaken`,
    { skip },
    async t => {
      const app = await appWith(options())
      t.teardown(() => app.close())
      await app.ready()
      const others = cacheOf(app, 'acme')
      const scope = scopeOf('acme')
      scope.transaction = new ScopeTransaction()
      const { promise, resolve } = Promise.withResolvers<string>()
      const inside = app.tenantCache.forScope(scope).wrap('k', () => promise)
      t.equal(await others.wrap('k', () => 'committed state'), 'committed state')
      resolve('uncommitted state')
      t.equal(await inside, 'uncommitted state')
      await others.delete('k')
      await scope.transaction.committed()
      t.equal(await others.get('k'), undefined)
      await app.tenantCache.forScope(scope).set('k', 'after the commit')
      t.equal(await others.get('k'), 'after the commit', 'a transaction that has ended holds nothing back')
    }
  )
}

t.test(
  'a change that fails after the commit is logged and keeps no other from being made',
  { skip: noRedis },
  async t => {
    const redis = freshRedisOptions()
    const app = await appWith({ redis })
    t.teardown(() => app.close())
    await app.ready()
    const errors: string[] = []
    const scope = scopeOf('acme', {
      info () {},
      warn () {},
      error (_, message) {
        errors.push(message)
      }
    })
    const transaction = scope.transaction = new ScopeTransaction()
    const cache = app.tenantCache.forScope(scope)
    const raw = new Redis(redis)
    t.teardown(() => {
      raw.disconnect()
    })
    await cacheOf(app, 'acme').set('k', 1)
    await raw.lpush('tenancy:test:{acme}:cache:kbroken', 'no entry of ours')
    await cache.delete('broken')
    await cache.set('k', 2)
    await transaction.committed()
    t.same(errors, ['a change of the cache that waited for a commit failed'])
    t.equal(await cacheOf(app, 'acme').get('k'), 2)
  }
)
