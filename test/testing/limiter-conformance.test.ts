// The published suite of a limiter over the one of this process, and limiters that break each promise.
import { limiterConformance, type LimiterUnderTest } from '@fastify-tenancy/testing'
import t from 'tap'

import { LocalLimiter } from '../../packages/rate-limit/src/local-limiter.ts'
import { minute } from '../../packages/rate-limit/src/window.ts'

let now = 1_000_000
const options = {
  advance (milliseconds: number) {
    now += milliseconds
  }
}

function local (): LimiterUnderTest {
  const limiter = new LocalLimiter(() => now)
  return {
    take (tenant, cost) {
      const { wait } = limiter.take([{
        key: tenant,
        name: 'rpm',
        limit: 10,
        shape: minute,
        smoothing: false
      }], cost)
      return { isAdmitted: wait === 0, wait }
    }
  }
}

for (const { name, run } of limiterConformance(local, options)) t.test(`this process: ${name}`, run)

/** A fixed window of a minute, the usual mistake. */
function fixed (limit = 10, isCounting: 'all' | 'admitted' = 'admitted'): LimiterUnderTest {
  const counts = new Map<string, number>()
  return {
    take (tenant, cost) {
      const key = `${tenant} ${Math.floor(now / 60_000)}`
      const count = (counts.get(key) ?? 0) + cost
      const isAdmitted = count <= limit
      if (isAdmitted || isCounting === 'all') counts.set(key, count)
      return { isAdmitted, wait: isAdmitted ? 0 : 60_000 - now % 60_000 }
    }
  }
}

const broken: Record<string, () => LimiterUnderTest> = {
  'a tenant has its limit and not one request more': () => fixed(11),
  'requests at once do not pass the limit together': () => {
    const counts = new Map<string, number>()
    return {
      async take (tenant, cost) {
        const count = (counts.get(tenant) ?? 0) + cost
        await Promise.resolve()
        counts.set(tenant, count)
        return { isAdmitted: count <= 10, wait: 1 }
      }
    }
  },
  'a tenant spends nothing of another': () => {
    const one = local()
    return { take: (_tenant, cost) => one.take('all', cost) }
  },
  'a refused request is not counted': () => {
    const log = new Map<string, number[]>()
    return {
      take (tenant) {
        const recent = (log.get(tenant) ?? []).filter(at => at > now - 60_000)
        log.set(tenant, [...recent, now])
        return { isAdmitted: recent.length < 10, wait: 1 }
      }
    }
  },
  'no 60 seconds hold more than the limit, across the edges of minutes too': fixed,
  'the wait of a refusal is honest': () => {
    const one = local()
    return { take: async (tenant, cost) => ({ ...await one.take(tenant, cost), wait: 1 }) }
  },
  'cost weighs a request, and 0 is free': () => {
    const one = local()
    return { take: tenant => one.take(tenant, 1) }
  }
}

t.test('control: each check goes red for a limiter that breaks its promise', async t => {
  t.same(
    limiterConformance(local, options).map(({ name }) => name).toSorted(),
    Object.keys(broken).toSorted()
  )
  for (const { name } of limiterConformance(local, options)) {
    const checks = limiterConformance(broken[name] ?? local, options)
    await t.rejects(checks.find(check => check.name === name)?.run() ?? Promise.resolve(), {
      name: 'AssertionError'
    }, name)
  }
})
