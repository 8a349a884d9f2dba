// A process with a limiter. It sends requests at the instants of its plan and reports which were
// admitted.
import { openRedis } from '@fastify-tenancy/redis'
import { setTimeout as wait } from 'node:timers/promises'

import { SharedLimiter } from '../../packages/rate-limit/src/limiter.ts'
import { LocalLimiter } from '../../packages/rate-limit/src/local-limiter.ts'
import { ProcessRegistry } from '../../packages/rate-limit/src/process-registry.ts'
import { until } from '../support/until.ts'
import { clock, type Admission, type Outcome, type Plan } from './process-plan.ts'

const { host, port, keyPrefix } = JSON.parse(process.argv[2] ?? '') as {
  host: string
  port: number
  keyPrefix: string
}
// A long timeout, so that a busy machine does not cause an outage.
const redis = openRedis({ host, port, keyPrefix, commandTimeout: 5_000 })
await until(() => redis.isAvailable, 20_000)
const census = new ProcessRegistry(redis)
await census.start()
const settings = {
  onStoreError: 'closed',
  processes: () => census.count,
  log: { info () {}, warn () {}, error () {} }
} as const
const limiters = {
  exact: new SharedLimiter(redis, { ...settings, precision: 'exact' }),
  leased: new SharedLimiter(redis, { ...settings, precision: 'leased' }),
  alone: new LocalLimiter()
}

const fire = async ({ name, limiter, quota, arrivals }: Plan, start: number): Promise<[string, Outcome]> => {
  const admitted: Admission[] = []
  const failures: string[] = []
  const answers: Promise<void>[] = []
  const ask = async (): Promise<void> => {
    const sent = clock()
    try {
      const verdict = await limiters[limiter].take([quota], 1)
      if (verdict?.wait === 0) admitted.push([sent, clock()])
    } catch (error) {
      failures.push(`after ${Math.round(clock() - sent)} ms: ${reason(error)}`)
    }
  }
  for (const at of arrivals) {
    const early = start + at - clock()
    if (early > 0) await wait(early)
    answers.push(ask())
  }
  await Promise.all(answers)
  return [name, { admitted, failures }]
}

/** Returns an error's message with those of its causes. */
function reason (error: unknown): string {
  return error instanceof Error
    ? [error.message, error.cause === undefined ? [] : reason(error.cause)].flat().join(' < ')
    : String(error)
}

const report = async (plans: readonly Plan[], start: number): Promise<void> => {
  process.send?.(await Promise.all(plans.map(plan => fire(plan, start))))
}
process.on('message', ({ plans, start }: { plans: Plan[]; start: number }) => {
  void report(plans, start)
})
process.on('disconnect', () => process.exit())
process.send?.('ready')
