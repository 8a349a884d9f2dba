import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'

import type { ConformanceCheck } from './check.ts'

/** A limiter's decision about one request. */
export interface LimiterAnswer {
  readonly isAdmitted: boolean
  /**
   * Milliseconds until the same request would be admitted if no other came; 0 if it was admitted.
   */
  readonly wait: number
}

/** Counts requests of tenants against one limit, in a sliding window of 60 seconds. */
export interface LimiterUnderTest {
  /** @param cost how many requests this request counts as; 0 is free */
  take(tenant: string, cost: number): LimiterAnswer | Promise<LimiterAnswer>
}

/** Options of {@link limiterConformance}. */
export interface LimiterConformanceOptions {
  /** Advances the clock of the limiter by milliseconds. */
  readonly advance: (milliseconds: number) => void | Promise<void>
  /** Requests of one tenant in 60 seconds. @default 10 */
  readonly limit?: number
}

type Check = (
  limiter: LimiterUnderTest,
  limit: number,
  advance: (ms: number) => Promise<void>
) => Promise<void>

/**
 * Returns checks for the guarantees of a limiter's store. The checks use random tenants, so they
 * may run over one store.
 *
 * @param makeLimiter called once for each check
 */
export function limiterConformance (
  makeLimiter: () => LimiterUnderTest | Promise<LimiterUnderTest>,
  { advance, limit = 10 }: LimiterConformanceOptions
): ConformanceCheck[] {
  return Object.entries(promises).map(([name, check]) => ({
    name,
    run: async () => check(await makeLimiter(), limit, async milliseconds => advance(milliseconds))
  }))
}

const promises: Record<string, Check> = {
  'a tenant has its limit and not one request more': async (limiter, limit) => {
    const tenant = randomUUID()
    assert.equal(await admitted(limiter, tenant, limit + 5), limit)
  },

  'requests at once do not pass the limit together': async (limiter, limit) => {
    const tenant = randomUUID()
    const answers = await Promise.all(Array.from({ length: limit * 3 }, () => limiter.take(tenant, 1)))
    assert.equal(answers.filter(({ isAdmitted }) => isAdmitted).length, limit)
  },

  'a tenant spends nothing of another': async (limiter, limit) => {
    const [one, other] = [randomUUID(), randomUUID()]
    await admitted(limiter, one, limit + 5)
    assert.equal(await admitted(limiter, other, limit), limit)
  },

  'a refused request is not counted': async (limiter, limit, advance) => {
    const tenant = randomUUID()
    await admitted(limiter, tenant, limit)
    await advance(30_000)
    await admitted(limiter, tenant, limit)
    await advance(32_000)
    assert.equal(await admitted(limiter, tenant, limit), limit)
  },

  'no 60 seconds hold more than the limit, across the edges of minutes too': async (
    limiter,
    limit,
    advance
  ) => {
    const tenant = randomUUID()
    const log: number[] = []
    for (let now = 0; now < 180_000; now += 1_500) {
      for (let n = 0; n < 3; n++) if ((await limiter.take(tenant, 1)).isAdmitted) log.push(now)
      await advance(1_500)
    }
    for (const start of log) {
      const count = log.filter(at => at >= start && at < start + 60_000).length
      assert.ok(count <= limit, `${count} of ${limit} requests in 60 s from ${start} ms on`)
    }
    assert.ok(log.length >= limit * 2, 'and it admits again as time goes on')
  },

  'the wait of a refusal is honest': async (limiter, limit, advance) => {
    const tenant = randomUUID()
    await admitted(limiter, tenant, limit)
    const { isAdmitted, wait } = await limiter.take(tenant, 1)
    assert.equal(isAdmitted, false)
    assert.ok(wait > 0 && wait <= 62_000, `${wait} ms`)
    await advance(wait)
    assert.equal((await limiter.take(tenant, 1)).isAdmitted, true)
  },

  'cost weighs a request, and 0 is free': async (limiter, limit) => {
    const tenant = randomUUID()
    assert.equal((await limiter.take(tenant, limit - 1)).isAdmitted, true)
    assert.equal((await limiter.take(tenant, 2)).isAdmitted, false)
    assert.equal((await limiter.take(tenant, 0)).isAdmitted, true)
    assert.equal((await limiter.take(tenant, 1)).isAdmitted, true)
    assert.equal((await limiter.take(tenant, 0)).isAdmitted, true)
  }
}

async function admitted (limiter: LimiterUnderTest, tenant: string, times: number): Promise<number> {
  let count = 0
  for (let n = 0; n < times; n++) if ((await limiter.take(tenant, 1)).isAdmitted) count++
  return count
}
