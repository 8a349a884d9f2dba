// How a process waits for the look-up of another one.
import type { TenancyRedis } from '@fastify-tenancy/redis'
import t from 'tap'

import { LookupLocks } from '../../packages/resolver/src/lookup-locks.ts'
import type { RedisTier } from '../../packages/resolver/src/redis-tier.ts'

t.test('a process that waits for the answer of another one asks Redis ever less often', async t => {
  const began = performance.now()
  let asked = 0
  // Another process holds the lock for 150 ms.
  const redis = {
    async run () {
      asked++
      return 0
    }
  } as unknown as TenancyRedis
  const tier = {
    get: async () => ({ tenant: undefined, isFresh: performance.now() - began > 150, seen: '' })
  } as unknown as RedisTier
  const { shared } = await new LookupLocks(redis, tier).wait({ kind: 'slug', value: 'acme' }, {
    tenant: undefined,
    isFresh: false,
    seen: ''
  })
  t.ok(shared.isFresh)
  t.ok(asked > 1 && asked <= 25, `${asked} questions`)
})
