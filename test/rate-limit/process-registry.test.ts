import type { TenancyRedis } from '@fastify-tenancy/redis'
import t from 'tap'

import { ProcessRegistry } from '../../packages/rate-limit/src/process-registry.ts'

t.test('RL-10 after Redis returns empty, a process does not take shares of uncounted processes', async t => {
  let now = 0
  let answer = 2
  const census = new ProcessRegistry({ run: async () => answer } as unknown as TenancyRedis, () => now)
  await census.take()
  t.equal(census.count, 2)
  now += 5_000
  answer = 1
  await census.take()
  t.equal(census.count, 2)
  now += 5_000
  answer = 3
  await census.take()
  t.equal(census.count, 3, 'a larger number is believed at once')
  now += 15_000
  answer = 1
  await census.take()
  t.equal(census.count, 1, 'processes that have ended give their share back')
})
