// Many processes, one Redis, ten minutes of virtual time, compared with an exact log of admissions.
import t from 'tap'

import type { Quota } from '../../packages/rate-limit/src/quota.ts'
import { minute } from '../../packages/rate-limit/src/window.ts'
import { freshRedis, noRedis } from '../support/fresh.ts'
import { peak, random, traces } from './traces.ts'
import { play, type Request } from './virtual-time.ts'

const start = 28_333_334 * 60_000
const limit = 60

function rpm (key: string, limit: number, smoothing = false): Quota {
  return { key: `{a}:${key}`, name: 'rpm', limit, shape: minute, smoothing }
}

/** Sends each arrival to a random process. */
function over (processes: number, arrivals: readonly number[]): Request[] {
  const next = random(9)
  return arrivals.map(at => ({ at, process: Math.floor(next() * processes) }))
}

const modes = [
  { name: 'exact', precision: 'exact', smoothing: false, most: 1 },
  { name: 'exact with smoothing', precision: 'exact', smoothing: true, most: 1.04 },
  { name: 'leased', precision: 'leased', smoothing: false, most: 1.02 },
  { name: 'leased with smoothing', precision: 'leased', smoothing: true, most: 1.04 }
] as const

for (const { name, precision, smoothing, most } of modes) {
  t.test(
    `${name}: over three processes never more than ${most} of the limit in any 60 s`,
    { skip: noRedis },
    async t => {
      const redis = freshRedis(t)
      await Promise.all(
        Object.entries(traces(limit, start)).map(async ([trace, arrivals]) => {
          const { log, runs } = await play(redis, over(3, arrivals), {
            processes: 3,
            start,
            precision,
            quotas: () => [rpm(trace, limit, smoothing)]
          })
          t.ok(
            peak(log, 60_000) <= limit * most,
            `${trace}: peak ${
              peak(log, 60_000) / limit
            } of the limit, ${runs} scripts for ${arrivals.length} requests`
          )
          t.ok(log.length > limit, 'and it does admit')
        })
      )
    }
  )
}
