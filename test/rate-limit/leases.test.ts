// Leases of many processes in virtual time, compared with an exact log of admissions.
import t from 'tap'

import type { Quota } from '../../packages/rate-limit/src/quota.ts'
import { minute, second } from '../../packages/rate-limit/src/window.ts'
import { freshRedis, noRedis } from '../support/fresh.ts'
import { peak, random, traces } from './traces.ts'
import { play, virtualScript, type Request } from './virtual-time.ts'

const start = 28_333_334 * 60_000
const limit = 60

function rpm (key: string, limit: number, smoothing = false): Quota {
  return { key: `{a}:${key}`, name: 'rpm', limit, shape: minute, smoothing }
}

/** Sends each arrival to a random process. */
function over (
  processes: number,
  arrivals: readonly number[],
  cost: (next: () => number) => number = () => 1
): Request[] {
  const next = random(9)
  return arrivals.map(at => ({ at, process: Math.floor(next() * processes), cost: cost(next) }))
}

t.test(
  'leased: costs, bursts and addresses stay within limits over sixteen processes',
  { skip: noRedis },
  async t => {
    const redis = freshRedis(t)
    const clients = 5
    await Promise.all(
      Object.entries(traces(limit, start)).map(async ([trace, arrivals]) => {
        const requests = over(16, arrivals.filter(at => at < start + 200_000), next => Math.floor(next() * 4))
        const client = new Map(requests.map((request, at) => [request, at % clients]))
        const admitted = Array.from({ length: clients }, () => [] as number[])
        const { log } = await play(redis, requests, {
          processes: 16,
          start,
          precision: 'leased',
          quotas: request => [
            rpm(trace, limit),
            { key: `{a}:${trace}:burst`, name: 'burst', limit: 12, shape: second, smoothing: false },
            { ...rpm(`${trace}:${client.get(request)}`, 20), name: 'perClient' }
          ],
          onAdmitted: request => {
            for (let i = 0; i < (request.cost ?? 1); i++) admitted[client.get(request) ?? 0]?.push(request.at)
          }
        })
        t.ok(peak(log, 60_000) <= limit * 1.02, `${trace}: ${peak(log, 60_000)} of ${limit}`)
        t.ok(peak(log, 1_000) <= 12, `${peak(log, 1_000)} of 12 in a second`)
        t.ok(admitted.every(log => peak(log, 60_000) <= 20), 'each address within its own')
        t.ok(log.length > limit / 2, 'and it does admit')
      })
    )
  }
)

/** Three minutes at 0.9 of the limit, slightly uneven: no 60 s contain more than the limit. */
function legal (limit: number): number[] {
  const next = random(5)
  const count = limit * 0.9 * 3
  return Array.from({ length: count }, (_, at) => Math.floor(start + (at + 3 * next()) * 180_000 / count))
    .toSorted((a, b) => a - b)
}

for (const precision of ['exact', 'leased'] as const) {
  t.test(`${precision}: legal traffic at 0.9 of the limit over sixteen processes is not denied`, {
    skip: noRedis
  }, async t => {
    const redis = freshRedis(t)
    await Promise.all((precision === 'leased' ? [100, 600] : [600]).map(async limit => {
      const arrivals = legal(limit)
      const { denied, runs } = await play(redis, over(16, arrivals), {
        processes: 16,
        start,
        precision,
        quotas: () => [rpm(`${limit}`, limit)]
      })
      t.ok(
        denied <= arrivals.length * 0.01,
        `limit ${limit}: ${denied} of ${arrivals.length} denied, ${runs} scripts`
      )
    }))
  })
}

t.test(
  'leased: a token counts when it is spent (control: counted when leased, it passes the limit)',
  { skip: noRedis },
  async t => {
    const redis = freshRedis(t)
    const limit = 1_000
    // All processes lease a batch at the end of one second and spend it at the end of the next.
    // Then the rest of the limit is used when the first second has left the window.
    const requests: Request[] = [
      ...Array.from({ length: 16 }, (_, process) => ({ at: start + 950, process })),
      ...Array.from({ length: 16 * 50 }, (_, at) => ({ at: start + 1_940, process: at % 16 })),
      ...Array.from({ length: 2 * limit }, (_, at) => ({ at: start + 2_000 + at, process: at % 16 })),
      ...Array.from(
        { length: 2 * limit },
        (_, at) => ({ at: start + 61_000 + Math.floor(at / 4), process: at % 16 })
      )
    ]
    const late = 'add(ring, at, count)'
    t.ok(virtualScript.includes(late))
    const peakWith = async (script: string, key: string): Promise<number> => {
      const { log } = await play(redis, requests, {
        processes: 16,
        start,
        precision: 'leased',
        script,
        quotas: () => [rpm(key, limit)]
      })
      return peak(log, 60_000) / limit
    }
    const moved = await peakWith(virtualScript, 'moved')
    t.ok(moved <= 1.02, `peak ${moved}`)
    const unmoved = await peakWith(
      virtualScript.replace(late, 'add(ring, count > 0 and at - 1 or at, count)'),
      'unmoved'
    )
    t.ok(unmoved > 1.02, `control: peak ${unmoved}`)
  }
)

t.test(
  'leased: unspent tokens return within a second, and a process that ends keeps none',
  { skip: noRedis },
  async t => {
    const redis = freshRedis(t)
    const at = (instant: number, process: number, count = 1): Request[] =>
      Array.from({ length: count }, () => ({ at: start + instant, process }))
    const world = { processes: 3, start, precision: 'leased' } as const
    const held = await play(redis, [...at(0, 0), ...at(0, 1), ...at(1, 2, 200)], {
      ...world,
      quotas: () => [rpm('held', limit)]
    })
    t.ok(held.log.length < limit, `${held.log.length} of ${limit} while two processes hold the rest`)
    const back = await play(redis, [...at(0, 0), ...at(0, 1), ...at(1, 2, 200), ...at(2_200, 2, 200)], {
      ...world,
      quotas: () => [rpm('back', limit)]
    })
    t.equal(back.log.length, limit)
    await play(redis, at(0, 0), { ...world, quotas: () => [rpm('ended', limit)] })
    const { log } = await play(redis, at(1, 1, 200), { ...world, quotas: () => [rpm('ended', limit)] })
    t.equal(log.length, limit - 1)
  }
)

t.test('leased: a killed process exceeds the limit by no more than its batch', {
  skip: noRedis
}, async t => {
  const redis = freshRedis(t)
  const limit = 1_000
  const batch = limit * 0.05
  const requests: Request[] = [
    { at: start + 950, process: 0 },
    ...Array.from({ length: batch - 1 }, () => ({ at: start + 1_940, process: 0 })),
    ...Array.from({ length: limit }, () => ({ at: start + 1_960, process: 1 })),
    ...Array.from({ length: 2 * limit }, () => ({ at: start + 61_000, process: 1 }))
  ]
  const world = { processes: 2, start, precision: 'leased' } as const
  const told = await play(redis, requests, { ...world, quotas: () => [rpm('told', limit)] })
  t.equal(peak(told.log, 60_000), limit, 'one that lives leaves none')
  const { log } = await play(redis, requests, {
    ...world,
    killed: { process: 0, at: start + 1_950 },
    quotas: () => [rpm('killed', limit)]
  })
  const most = peak(log, 60_000)
  t.ok(most > limit && most <= limit + batch, `${most} of ${limit}`)
})
