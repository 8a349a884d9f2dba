import { lookupLockKey } from '@fastify-tenancy/core'
import { acquireRedisLock, type TenancyRedis } from '@fastify-tenancy/redis'
import { setTimeout as sleep } from 'node:timers/promises'

import type { LookupKey } from './lookup-key.ts'
import type { RedisAnswer, RedisTier } from './redis-tier.ts'

/** Longer than a look-up may take; the lock of a process that died ends after it. In milliseconds, as all times here. */
const lockLife = 2_500
/** Who has waited for so long asks the registry too: another process may be stuck, or the name be nobody's. */
const longestWait = 2_000
const longestPoll = 25

/** Whose turn it is to ask the registry. */
export interface LookupLock {
  /** What Redis holds by now: another process may have asked meanwhile. */
  readonly shared: RedisAnswer
  /** To be called when the answer is in Redis; undefined where nobody need be told. */
  readonly end?: () => Promise<void>
}

/**
 * Has one process at a time ask the registry for a name, and the others take its answer from Redis:
 * a tenant that thousands ask for at once, after a deploy or a `FLUSHALL`, is one read for all of them.
 */
export class LookupLocks {
  readonly #redis: TenancyRedis
  readonly #tier: RedisTier

  constructor (redis: TenancyRedis, tier: RedisTier) {
    this.#redis = redis
    this.#tier = tier
  }

  /** Waits for a turn, or for another's answer. An outage of Redis gives everybody a turn. */
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
