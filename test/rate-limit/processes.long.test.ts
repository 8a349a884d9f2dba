// Three real processes in real time. The ring is that of a minute with every bucket forty times
// shorter.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import t from 'tap'

import type { Quota } from '../../packages/rate-limit/src/quota.ts'
import { freshRedisOptions, noRedis } from '../support/fresh.ts'
import { clock, type Admission, type Outcome, type Plan } from './process-plan.ts'
import { random, traces } from './traces.ts'

const shorter = 40
const limit = 60
const length = 60_000 / shorter

const modes = [
  { mode: 'exact', limiter: 'exact', smoothing: false, most: 1 },
  { mode: 'smoothing', limiter: 'exact', smoothing: true, most: 1.04 },
  { mode: 'leased', limiter: 'leased', smoothing: false, most: 1.02 }
] as const

/** Each process counts by itself, as without Redis. */
const control = { mode: 'control', limiter: 'alone', smoothing: false } as const

/**
 * Returns the most admissions that surely lie in one window: sent after its start and answered
 * before its end.
 */
function surePeak (log: readonly Admission[]): number {
  return Math.max(
    ...log.map(([start]) =>
      log.filter(([sent, answered]) => sent >= start && answered < start + length).length
    )
  )
}

t.test(
  'RL-13 three processes share a limit: never more than it in any window',
  { skip: noRedis },
  async t => {
    const redis = freshRedisOptions()
    const children = [1, 2, 3].map(() =>
      fork(join(import.meta.dirname, 'limiter-process.ts'), [JSON.stringify(redis)])
    )
    t.teardown(() => {
      for (const child of children) child.kill()
    })
    await Promise.all(children.map(child => once(child, 'message')))

    const next = random(4)
    const plans: Plan[][] = [[], [], []]
    const offered = new Map<string, number>()
    for (const { mode, limiter, smoothing } of [...modes, control]) {
      for (const [trace, arrivals] of Object.entries(traces(limit, 0))) {
        const name = `${mode}: ${trace}`
        const quota: Quota = {
          key: `{a}:${name}`,
          name: 'rpm',
          limit,
          shape: { width: 1_000 / shorter, slots: 60 },
          smoothing
        }
        const shares: number[][] = [[], [], []]
        const short = arrivals.map(at => at / shorter).filter(at => at < 3.5 * length)
        for (const at of short) shares[Math.floor(next() * 3)]?.push(at)
        for (const [at, plan] of plans.entries())
          plan.push({
            name,
            limiter,
            quota,
            arrivals: shares[at] ?? []
          })
        offered.set(name, short.length)
      }
    }
    const start = clock() + 200
    const logs = await Promise.all(children.map(async (child, at) => {
      child.send({ plans: plans[at], start })
      const [outcomes] = await once(child, 'message') as [[string, Outcome][]]
      return new Map(outcomes)
    }))
    const of = (name: string): Admission[] => logs.flatMap(log => log.get(name)?.admitted ?? [])
    t.same(
      logs.flatMap(log =>
        [...log].flatMap(([name, { failures }]) => failures.map(failure => `${name} ${failure}`))
      ),
      [],
      'Redis gave a verdict on every request'
    )
    for (const { mode, most } of modes) {
      for (const trace of Object.keys(traces(limit, 0))) {
        const name = `${mode}: ${trace}`
        const log = of(name)
        t.ok(
          surePeak(log) <= limit * most,
          `${name}: ${surePeak(log)} of ${limit} at the peak, ${log.length} of ${offered.get(name)} admitted`
        )
        t.ok(log.length > limit, 'and they do admit')
      }
    }
    const alone = surePeak(of('control: overload'))
    t.ok(alone > limit * 1.5, `control: processes that count alone are seen to pass it, ${alone} of ${limit}`)
  }
)
