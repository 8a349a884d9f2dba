// A Redis that replies with refusals: each call is a 503 with a generic text, one log line, and
// health() reports it.
import Fastify from 'fastify'
import t from 'tap'

import { openCache, resolveCacheOptions, type TenantCacheHandle } from '@fastify-tenancy/cache'
import type { ScopeLogger } from '@fastify-tenancy/core'
import { openRedis } from '@fastify-tenancy/redis'

import { noRedis } from '../support/fresh.ts'
import { refusals } from '../support/refusing-redis.ts'
import { until } from '../support/until.ts'
import { scopeOf } from './stub.ts'

const calls: Record<string, (cache: TenantCacheHandle) => Promise<unknown>> = {
  get: cache => cache.get('k'),
  getMany: cache => cache.getMany(['k', 'other']),
  has: cache => cache.has('k'),
  set: cache => cache.set('k', 'a secret'),
  'set with tags': cache => cache.set('k', 'a secret', { tags: ['x'] }),
  wrap: cache => cache.wrap('k', () => 'a secret'),
  'wrap with tags and lock': cache =>
    cache.wrap('k', () => 'a secret', { tags: ['x'], lock: true, staleFor: '1s' }),
  delete: cache => cache.delete('k', 'other'),
  increment: cache => cache.increment('n'),
  invalidateTag: cache => cache.invalidateTag('x'),
  flush: cache => cache.flush(),
  'clear of a Keyv store': cache => cache.toKeyv().clear()
}
const writes = ['set', 'set with tags', 'delete', 'increment', 'invalidateTag', 'flush',
  'clear of a Keyv store']
/** Refusals that affect writes only. */
const refusesWrites = ['OOM', 'READONLY', 'NOREPLICAS']

for (const { reason, status, start } of refusals) {
  t.test(
    `EDG-06 ${reason}: each rejected call is a retryable 503 without Redis' text`,
    { skip: noRedis },
    async t => {
      const lines: string[] = []
      const write = (details: object, line: string): void => {
        lines.push(`${line} ${JSON.stringify(details)}`)
      }
      const log: ScopeLogger = { info: write, warn: write, error: write }
      const { source, refuse } = await start(t)
      const port = openRedis(source, { log })
      t.teardown(() => port.close())
      const caches = openCache(resolveCacheOptions({ redis: port, onStoreError: 'throw' }), log)
      t.teardown(() => caches.close())
      await caches.start()
      const app = Fastify()
      t.teardown(() => app.close())
      app.get('/:call', async request => {
        await calls[(request.params as { call: string }).call]?.(caches.forScope(scopeOf('acme')))
        return {}
      })
      await refuse()
      if (status === 'degraded') {
        await caches.forScope(scopeOf('acme')).flush().catch(() => {})
        // The first READONLY replaces the connection.
        if (reason === 'READONLY') await until(() => port.get('k').then(() => true, () => false))
      }

      for (let round = 0; round < 3; round++) {
        for (const call of Object.keys(calls)) {
          const reply = await app.inject(`/${encodeURIComponent(call)}`)
          if (reply.statusCode === 200 && refusesWrites.includes(reason)) {
            t.notOk(writes.includes(call), `${call} must not pretend`)
            continue
          }
          t.equal(reply.statusCode, 503, call)
          t.equal(reply.headers['retry-after'], '1', call)
          t.equal(reply.json().code, 'FST_TENANCY_REDIS_UNAVAILABLE', call)
          t.notMatch(reply.body, new RegExp(reason), `${call} shows no word of Redis`)
          t.match(port.state(), { status, reason }, call)
        }
      }
      t.equal(lines.filter(line => line.includes(reason)).length, 1, lines.join('\n'))
      t.ok(lines.length <= 3, 'and on what the cache does about it')
      t.notMatch(lines.join(), /secret|acme/)
    }
  )
}
