// The algorithm in virtual time, compared with an exact log of its admissions.
import t from 'tap'

import { LocalLimiter } from '../../packages/rate-limit/src/local-limiter.ts'
import type { Quota } from '../../packages/rate-limit/src/quota.ts'
import { minute, second } from '../../packages/rate-limit/src/window.ts'
import { peak, random, traces } from './traces.ts'

const start = 28_333_334 * 60_000

function rpm (limit: number, smoothing = false, key = 'rpm'): Quota {
  return { key, name: 'rpm', limit, shape: minute, smoothing }
}

function burst (limit: number): Quota {
  return { key: 'burst', name: 'burst', limit, shape: second, smoothing: false }
}

/** Returns the instants at which `take` admitted an arrival. */
function admitted (arrivals: readonly number[], take: (at: number) => boolean): number[] {
  return arrivals.filter(take)
}

for (const [name, arrivals] of Object.entries(traces(120, start))) {
  t.test(`never more than the limit in any 60 s: ${name}`, async t => {
    let now = start
    const limiter = new LocalLimiter(() => now)
    const log = admitted(arrivals, at => {
      now = at
      return limiter.take([rpm(120)], 1).wait === 0
    })
    t.ok(peak(log, 60_000) <= 120, `peak ${peak(log, 60_000)}`)
    t.ok(log.length > 120, 'and it does admit')
  })

  t.test(`with smoothing at most 4 % more: ${name}`, async t => {
    let now = start
    const limiter = new LocalLimiter(() => now)
    const log = admitted(arrivals, at => {
      now = at
      return limiter.take([rpm(120, true)], 1).wait === 0
    })
    t.ok(peak(log, 60_000) <= 120 * 1.04, `peak ${peak(log, 60_000)}`)
  })

  t.test(`never more than burst in any second, nor rpm in any minute: ${name}`, async t => {
    let now = start
    const limiter = new LocalLimiter(() => now)
    const log = admitted(arrivals, at => {
      now = at
      return limiter.take([rpm(120), burst(7)], 1).wait === 0
    })
    t.ok(peak(log, 1_000) <= 7)
    t.ok(peak(log, 60_000) <= 120)
  })
}

t.test('control: the same harness sees a fixed window pass the limit', async t => {
  const { boundary } = traces(120, start)
  let window = 0
  let count = 0
  const fixed = admitted(boundary, at => {
    if (Math.floor(at / 60_000) !== window) [window, count] = [Math.floor(at / 60_000), 0]
    return ++count <= 120
  })
  t.ok(peak(fixed, 60_000) > 120 * 1.9, `peak ${peak(fixed, 60_000)}`)
})

t.test('retry-after is honest: refused until just before, admitted at that instant', async t => {
  const next = random(7)
  for (const smoothing of [false, true]) {
    for (let round = 0; round < 300; round++) {
      let now = start
      const trace: [number, number][] = []
      const limit = 1 + Math.floor(next() * 20)
      for (let i = 0; i < 60; i++) {
        now += Math.floor(next() * 4_000)
        trace.push([now, 1 + Math.floor(next() * 5)])
      }
      const replay = (): LocalLimiter => {
        const limiter = new LocalLimiter(() => now)
        for (const [at, cost] of trace) {
          now = at
          limiter.take([rpm(limit, smoothing), burst(limit)], cost)
        }
        return limiter
      }
      const end = trace.at(-1)![0]
      const cost = 1 + Math.floor(next() * 5)
      const ask = (at: number): number => {
        const limiter = replay()
        now = at
        return limiter.take([rpm(limit, smoothing), burst(limit)], cost).wait
      }
      const wait = ask(end)
      if (wait === 0) continue
      if (ask(end + wait) !== 0 || (wait > 1 && ask(end + wait - 1) === 0))
        t.fail(`limit ${limit}, cost ${cost}, smoothing ${smoothing}, wait ${wait}, round ${round}`)
    }
  }
})

t.test('the clock never goes back for a window', async t => {
  let now = start + 30_000
  const limiter = new LocalLimiter(() => now)
  for (let i = 0; i < 5; i++) limiter.take([rpm(5)], 1)
  now = start - 3_600_000
  t.not(limiter.take([rpm(5)], 1).wait, 0)
  now = start + 30_000 + 61_000
  t.equal(limiter.take([rpm(5)], 1).wait, 0)
})

t.test('a refused request counts against none of its quotas', async t => {
  const limiter = new LocalLimiter(() => start)
  t.equal(limiter.take([rpm(10), burst(1)], 1).used, 1)
  const refused = limiter.take([rpm(10), burst(1)], 1)
  t.match(refused, { used: 1, limitedBy: 1 })
})

t.test('a changed limit keeps the running count', async t => {
  const limiter = new LocalLimiter(() => start)
  for (let i = 0; i < 6; i++) limiter.take([rpm(10)], 1)
  t.not(limiter.take([rpm(5)], 1).wait, 0)
  t.equal(limiter.take([rpm(7)], 1).wait, 0)
  t.not(limiter.take([rpm(7)], 1).wait, 0)
})

t.test('FLD-01 a flood of addresses neither grows the heap nor evicts an active counter', async t => {
  let now = start
  const limiter = new LocalLimiter(() => now, 1_000)
  const address = (name: string): Quota => ({ ...rpm(2, false, name), overflow: 'others' })
  for (let i = 0; i < 2; i++) limiter.take([address('first')], 1)
  limiter.take([rpm(1, false, 'tenant')], 1)
  let passed = 0
  for (let i = 0; i < 50_000; i++) if (limiter.take([address(`flood-${i}`)], 1).wait === 0) passed++
  t.ok(limiter.size <= 1_002, `${limiter.size} counters`)
  t.equal(passed, 999 + 2, 'what does not fit shares one counter')
  t.not(limiter.take([address('first')], 1).wait, 0)
  t.not(limiter.take([rpm(1, false, 'tenant')], 1).wait, 0)
  now += 62_000
  for (let i = 0; i < 5_000; i++) limiter.take([address(`later-${i % 600}`)], 1)
  t.ok(limiter.size <= 1_000, `${limiter.size} counters`)
})

t.test('a counter that was idle is not lost when it is used again while others are swept', async t => {
  let now = start
  const limiter = new LocalLimiter(() => now)
  for (let round = 0; round < 3; round++) {
    for (let i = 0; i < 50; i++) {
      const quotas = [rpm(2, false, `rpm-${i}`), { ...burst(2), key: `burst-${i}` },
        rpm(1_000, false, `new-${round}-${i}`), rpm(1_000, false, `newer-${round}-${i}`)]
      t.same([1, 2, 3].map(() => limiter.take(quotas, 1).wait === 0), [true, true, false])
    }
    now += 120_000
  }
})
