import { openRedis, type TenancyRedis } from '@fastify-tenancy/redis'
import t, { type Test } from 'tap'

import { LeasedCounters } from '../../packages/rate-limit/src/leased-counters.ts'
import { SharedLimiter, type LimiterSettings } from '../../packages/rate-limit/src/limiter.ts'
import type { Quota, Decision } from '../../packages/rate-limit/src/quota.ts'
import { RedisLimiter } from '../../packages/rate-limit/src/redis-limiter.ts'
import { minute, second } from '../../packages/rate-limit/src/window.ts'
import { freshRedis, noRedis } from '../support/fresh.ts'
import { startRedis } from '../support/services.ts'
import { until } from '../support/until.ts'

const log = { info () {}, warn () {}, error () {} }

function rpm (limit: number): Quota {
  return { key: '{a}:rpm', name: 'rpm', limit, shape: minute, smoothing: false }
}

interface Leasing {
  readonly limiter: SharedLimiter
  /** Number of commands sent so far. */
  readonly sent: () => number
}

async function leasing (
  t: Test,
  client = freshRedis(t),
  settings: Partial<LimiterSettings> = {}
): Promise<Leasing> {
  const redis = openRedis(client)
  t.teardown(() => {
    client.disconnect()
  })
  await redis.ready()
  let sent = 0
  const send = client.sendCommand.bind(client)
  client.sendCommand = (...args) => {
    sent++
    return send(...args)
  }
  const limiter = new SharedLimiter(redis, {
    onStoreError: 'local',
    precision: 'leased',
    processes: () => 2,
    log,
    ...settings
  })
  t.teardown(() => limiter.close())
  return { limiter, sent: () => sent }
}

async function admitted (
  limiter: SharedLimiter,
  count: number,
  quotas: readonly Quota[],
  cost = 1
): Promise<number> {
  let passed = 0
  for (let i = 0; i < count; i++) if ((await limiter.take(quotas, cost))?.wait === 0) passed++
  return passed
}

t.test('most requests cost Redis nothing, and are answered without a promise', { skip: noRedis }, async t => {
  const { limiter, sent } = await leasing(t)
  await limiter.take([rpm(100_000)], 1)
  const before = sent()
  const verdicts: unknown[] = []
  for (let i = 0; i < 1_000; i++) verdicts.push(limiter.take([rpm(100_000)], 1))
  t.notOk(verdicts.some(verdict => verdict instanceof Promise))
  t.equal(sent(), before)
  t.match(verdicts.at(-1) as Decision, { wait: 0, used: 1_001 })
})

t.test('a thousand concurrent requests cause one command that serves them all', {
  skip: noRedis
}, async t => {
  const { limiter, sent } = await leasing(t)
  const verdicts = await Promise.all(Array.from({ length: 1_000 }, () => limiter.take([rpm(100_000)], 1)))
  t.ok(verdicts.every(verdict => verdict?.wait === 0))
  t.equal(sent(), 1)
})

t.test('one over its limit costs Redis a question a second', { skip: noRedis }, async t => {
  const { limiter, sent } = await leasing(t)
  t.equal(await admitted(limiter, 5, [rpm(3)]), 3)
  const [before, from] = [sent(), performance.now()]
  t.equal(await admitted(limiter, 1_000, [rpm(3)]), 0)
  t.ok(sent() - before <= 2 + 2 * (performance.now() - from) / 1_000, `${sent() - before} commands`)
})

t.test('a changed limit keeps the count and ends a lease of the old size', { skip: noRedis }, async t => {
  const { limiter } = await leasing(t)
  t.equal(await admitted(limiter, 60, [rpm(1_000)]), 60)
  t.equal(await admitted(limiter, 10, [rpm(50)]), 0)
  t.equal(await admitted(limiter, 30, [rpm(80)]), 20)
})

t.test(
  'one that another limit refuses spends no token, and costs are charged whole',
  { skip: noRedis },
  async t => {
    const { limiter } = await leasing(t)
    const burst: Quota = { key: '{a}:burst', name: 'burst', limit: 4, shape: second, smoothing: false }
    t.equal(await admitted(limiter, 3, [rpm(200), burst], 3), 1)
    t.equal(await admitted(limiter, 100, [rpm(200)], 3), 65, 'three are gone, sixty-five threes are left')
    t.equal(await admitted(limiter, 5, [rpm(200)], 1), 2)
  }
)

t.test('unspent parts of a lease are returned in time and on close', { skip: noRedis }, async t => {
  const client = freshRedis(t)
  const one = await leasing(t, client)
  const other = await leasing(t, client.duplicate())
  t.equal(await admitted(one.limiter, 1, [rpm(100)]), 1)
  t.ok(await admitted(other.limiter, 100, [rpm(100)]) < 99)
  await one.limiter.close()
  await until(async () =>
    await admitted(other.limiter, 10, [rpm(100)]) === 0 &&
    (await other.limiter.take([rpm(100)], 0))?.used === 100
  )
})

t.test(
  'RL-10 leases stay valid while Redis is down, then onStoreError decides',
  { skip: noRedis },
  async t => {
    for (const onStoreError of ['local', 'closed', 'open'] as const) {
      const service = await startRedis()
      const redis = openRedis(service.url)
      t.teardown(() => redis.close())
      await redis.ready()
      const limiter = new SharedLimiter(redis, { onStoreError, precision: 'leased', processes: () => 2, log })
      t.equal((await limiter.take([rpm(100)], 1))?.wait, 0)
      await service.stop()
      await until(() => !redis.isAvailable)
      let passed = 1
      let failed = 0
      for (let i = 0; i < 200; i++) {
        const verdict = await Promise.resolve(limiter.take([rpm(100)], 1)).catch(() => failed++)
        if (verdict === undefined || (typeof verdict === 'object' && verdict.wait === 0)) passed++
      }
      if (onStoreError === 'local') t.equal(passed, 50, 'its share')
      else if (onStoreError === 'open') t.equal(passed, 201)
      else t.ok(passed <= 5 && failed === 201 - passed, `${passed} pass, ${failed} fail`)
      await limiter.close()
    }
  }
)

function now (): number {
  return performance.now()
}

/** Makes a counter for each of `count` client addresses. */
function flood (count: number): Quota[][] {
  return Array.from({ length: count }, (_, at) => [{ ...rpm(300), key: `{${at}}`, overflow: 'others' }])
}

t.test('FLD-01 a flood of addresses does not grow the heap, leased or pending', async t => {
  const port = {
    isAvailable: true,
    run: async () => `0 -1 1 60000 ${Date.now()} 15`
  } as unknown as TenancyRedis
  const leased = new LeasedCounters(new RedisLimiter(port, now), () => 2, now)
  for (const quotas of flood(12_000)) await leased.ask(quotas, 1)
  t.ok(leased.size <= 10_000, `${leased.size} kept`)
  await until(() => leased.size === 0, 10_000)
  const owed = new LeasedCounters(new RedisLimiter(port, now), () => 0, now)
  for (const quotas of flood(12_000)) owed.addPendingWrite(quotas, 1)
  t.equal(owed.size, 10_000)
  await until(() => owed.size === 0, 10_000)
})
