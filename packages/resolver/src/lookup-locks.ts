import { lookupLockKey } from '@fastify-tenancy/core/keys'
import { acquireRedisLock, type TenancyRedis } from '@fastify-tenancy/redis'
import { setTimeout as sleep } from 'node:timers/promises'

import type { LookupKey } from './lookup-key.ts'
import type { RedisAnswer, RedisTier } from './redis-tier.ts'

/**
 * Milliseconds after which the lock of a dead process expires. It is longer than the deadline of a
 * look-up.
 */
const lockLife = 2_500
/**
 * Milliseconds after which a waiting process asks the registry too, because the lock's owner may be
 * stuck or the name unknown.
 */
const longestWait = 2_000
const longestPoll = 25

/** The right to ask the registry for a name. */
interface LookupLock {
  /** The answer in Redis by now: another process may have stored it meanwhile. */
  readonly shared: RedisAnswer
  /**
   * Releases the lock. Call it once the answer is in Redis. Undefined if there is no lock to
   * release.
   */
  readonly end?: () => Promise<void>
}

/**
 * Lets one process at a time ask the registry for a name, while the others wait for its answer in
 * Redis. After a deploy or a `FLUSHALL`, thousands of requests for one tenant cause one read.
 */
export class LookupLocks {
  readonly #redis: TenancyRedis
  readonly #tier: RedisTier

  constructor (redis: TenancyRedis, tier: RedisTier) {
    this.#redis = redis
    this.#tier = tier
  }

  /**
   * Waits for the lock, or for the answer of another process. While Redis is down every process may
   * ask.
   */
  async wait (lookup: LookupKey, shared: RedisAnswer): Promise<LookupLock> {
    const key = lookupLockKey(lookup.kind, lookup.value)
    const until = performance.now() + longestWait
    try {
      for (let poll = 5;; poll = Math.min(longestPoll, poll * 2)) {
        const end = await acquireRedisLock(this.#redis, key, lockLife)
        const latest = await this.#tier.get(lookup)
        if (end !== undefined) {
          if (!latest.isFresh) return { shared: latest, end }
          await end()
        }
        if (latest.isFresh || performance.now() > until) return { shared: latest }
        await sleep(poll * (0.5 + Math.random() / 2))
      }
    } catch {
      return { shared }
    }
  }
}
