import type { ScopeLogger } from '@fastify-tenancy/core'
import type { TenancyRedis } from '@fastify-tenancy/redis'
import { LRUCache } from 'lru-cache'

import { rateLimitUnavailable } from './errors.ts'
import { LocalLimiter } from './local-limiter.ts'
import type { Quota, Verdict } from './quota.ts'
import { RedisLimiter } from './redis-limiter.ts'

/** What happens when Redis cannot be asked: count in process by a share, let everything pass, or refuse everything. */
export type OnStoreError = 'local' | 'open' | 'closed'

export interface LimiterSettings {
  readonly onStoreError: OnStoreError
  readonly log: ScopeLogger
  /** How many processes were last seen to share the limits. */
  readonly processes: () => number
}

/** A refusal that Redis gave, and holds until `until` for every request as dear as the one refused. */
interface Denial {
  readonly until: number
  readonly limit: number
  readonly cost: number
  readonly verdict: Verdict
  readonly at: number
}

/** Lets a request pass or not, by Redis where there is one. */
export interface Limiter {
  /** Undefined: it could not be told, and the request is to pass. Quotas must not be empty. */
  take (quotas: readonly Quota[], cost: number): Verdict | undefined | Promise<Verdict | undefined>
}

/** Counts over all processes, in one round trip; without Redis for as long as it is away. */
export class SharedLimiter implements Limiter {
  readonly #redis: RedisLimiter
  readonly #settings: LimiterSettings
  /** This process' own admissions are counted here always: when Redis goes, the count goes on instead of anew. */
  readonly #local = new LocalLimiter()
  readonly #denials = new LRUCache<string, Denial>({ max: 10_000 })
  #isAway = false

  constructor (redis: TenancyRedis, settings: LimiterSettings) {
    this.#redis = new RedisLimiter(redis)
    this.#settings = settings
  }

  get isAway (): boolean {
    return this.#isAway
  }

  take (quotas: readonly Quota[], cost: number): Verdict | Promise<Verdict | undefined> {
    return this.#denied(quotas, cost) ?? this.#ask(quotas, cost)
  }

  async #ask (quotas: readonly Quota[], cost: number): Promise<Verdict | undefined> {
    let verdict: Verdict
    try {
      verdict = await this.#redis.take(quotas, cost)
    } catch (error) {
      return this.#withoutRedis(quotas, cost, error)
    }
    if (this.#isAway) {
      this.#isAway = false
      this.#settings.log.info({}, 'rate limits are counted in Redis again')
    }
    if (verdict.wait === 0) this.#local.record(quotas, cost)
    else this.#deny(quotas[verdict.refusedBy], cost, verdict)
    return verdict
  }

  #withoutRedis (quotas: readonly Quota[], cost: number, error: unknown): Verdict | undefined {
    const { onStoreError, processes, log } = this.#settings
    if (!this.#isAway) {
      this.#isAway = true
      log.warn({ err: error, onStoreError }, 'rate limits cannot be counted in Redis')
    }
    if (onStoreError === 'local') return this.#local.take(quotas, cost, processes())
    if (onStoreError === 'open' || cost === 0) return undefined
    throw rateLimitUnavailable(error)
  }

  #deny (quota: Quota | undefined, cost: number, verdict: Verdict): void {
    if (quota === undefined) return
    const at = performance.now()
    this.#denials.set(quota.key, { until: at + verdict.wait, limit: quota.limit, cost, verdict, at })
  }

  /** Nothing is admitted before the time that Redis gave: a window only empties by time, and others only fill it. */
  #denied (quotas: readonly Quota[], cost: number): Verdict | undefined {
    if (this.#denials.size === 0) return undefined
    const now = performance.now()
    for (const quota of quotas) {
      const denial = this.#denials.get(quota.key)
      if (denial === undefined) continue
      if (now < denial.until && quota.limit <= denial.limit && cost >= denial.cost) {
        const { verdict, at, until } = denial
        return { ...verdict, wait: Math.max(1, Math.ceil(until - now)), reset: Math.max(0, Math.ceil(verdict.reset - (now - at))) }
      }
      if (now >= denial.until) this.#denials.delete(quota.key)
    }
    return undefined
  }
}
