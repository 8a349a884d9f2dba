// A process of its own with a limiter: fires requests at the instants it is told, and tells which were admitted.
import { openRedis } from '@fastify-tenancy/redis'
import { setTimeout as wait } from 'node:timers/promises'

import { Census } from '../../packages/rate-limit/src/census.ts'
import { SharedLimiter } from '../../packages/rate-limit/src/limiter.ts'
import { LocalLimiter } from '../../packages/rate-limit/src/local-limiter.ts'
import { until } from '../support/until.ts'
import { clock, type Admission, type Plan } from './process-plan.ts'

const { host, port, keyPrefix } = JSON.parse(process.argv[2] ?? '') as { host: string, port: number, keyPrefix: string }
// A busy machine must not turn this into a test of outages.
const redis = openRedis({ host, port, keyPrefix, commandTimeout: 5_000 })
await until(() => redis.isAvailable, 20_000)
const census = new Census(redis)
await census.start()
const settings = { onStoreError: 'closed', processes: () => census.count, log: { info () {}, warn () {}, error () {} } } as const
const limiters = { exact: new SharedLimiter(redis, { ...settings, precision: 'exact' }), leased: new SharedLimiter(redis, { ...settings, precision: 'leased' }), alone: new LocalLimiter() }

const fire = async ({ name, limiter, quota, arrivals }: Plan, start: number): Promise<[string, Admission[]]> => {
  const log: Admission[] = []
  const answers: Promise<void>[] = []
  for (const at of arrivals) {
    const early = start + at - clock()
    if (early > 0) await wait(early)
    const sent = clock()
    answers.push((async () => {
      // Without Redis a request is refused: what is shown here is that none passes the limit.
      const verdict = await Promise.resolve(limiters[limiter].take([quota], 1)).catch(() => undefined)
      if (verdict?.wait === 0) log.push([sent, clock()])
    })())
  }
  await Promise.all(answers)
  return [name, log]
}

const report = async (plans: readonly Plan[], start: number): Promise<void> => {
  process.send?.(await Promise.all(plans.map(plan => fire(plan, start))))
}
process.on('message', ({ plans, start }: { plans: Plan[], start: number }) => { void report(plans, start) })
process.on('disconnect', () => process.exit())
process.send?.('ready')
