import type { ScopeLogger } from '@fastify-tenancy/core'
import { isReply, RedisUnavailableError, type TenancyRedis } from '@fastify-tenancy/redis'

import { DenyCache } from './deny-cache.ts'
import { rateLimitUnavailable } from './errors.ts'
import { LeasedCounters } from './leased-counters.ts'
import { LocalLimiter } from './local-limiter.ts'
import type { Quota, Decision } from './quota.ts'
import { RedisLimiter } from './redis-limiter.ts'

/**
 * What happens when Redis cannot be asked: count in process against a share of the limit, let every
 * request pass, or refuse every request.
 */
export type OnStoreError = 'local' | 'open' | 'closed'

/** Whether Redis is asked for each request, or leases small batches of tokens to each process. */
export type Precision = 'exact' | 'leased'

export interface LimiterSettings {
  readonly onStoreError: OnStoreError
  readonly precision: Precision
  readonly log: ScopeLogger
  /** Returns how many processes were last seen to share the limits. */
  readonly processes: () => number
}

/**
 * Longest time in milliseconds that a cached denial is reused in leased mode. Other processes
 * return unused tokens within about a second, so a longer denial could be wrong.
 */
const leasedDenial = 1_000

/** Decides whether a request passes, by Redis if it is configured. */
export interface Limiter {
  /**
   * Returns undefined if the limiter could not decide and the request must pass. Quotas must not be
   * empty.
   */
  take(quotas: readonly Quota[], cost: number): Decision | undefined | Promise<Decision | undefined>
}

/** Counts over all processes in Redis, and in this process while Redis is away. */
export class SharedLimiter implements Limiter {
  readonly #redis: RedisLimiter
  readonly #settings: LimiterSettings
  readonly #counters: LeasedCounters
  /**
   * Always counts this process's admissions, so that the count continues when Redis becomes
   * unavailable, instead of starting at zero.
   */
  readonly #local: LocalLimiter
  readonly #denials: DenyCache
  readonly #isLeasing: boolean
  #isAway = false
  /** Whether Redis answered with an error instead of counting. */
  #isRefused = false

  /** @param now milliseconds of a monotonic clock. */
  constructor (redis: TenancyRedis, settings: LimiterSettings, now: () => number = () => performance.now()) {
    this.#redis = new RedisLimiter(redis, now)
    this.#redis.senders = () => Math.min(16, settings.processes())
    this.#settings = settings
    this.#isLeasing = settings.precision === 'leased'
    this.#counters = new LeasedCounters(
      this.#redis,
      this.#isLeasing ? () => 2 * settings.processes() : () => 0,
      now
    )
    this.#local = new LocalLimiter(now)
    this.#denials = new DenyCache(this.#isLeasing ? leasedDenial : Number.POSITIVE_INFINITY, now)
  }

  get isAway (): boolean {
    return this.#isAway
  }

  take (quotas: readonly Quota[], cost: number): Decision | Promise<Decision | undefined> {
    const denied = this.#denials.find(quotas, cost)
    if (denied !== undefined) return denied
    if (!this.#isLeasing) return this.#ask(quotas, cost)
    const pending = this.#counters.pending(quotas)
    return this.#consume(quotas, cost) ??
      (pending === undefined
        ? this.#ask(quotas, cost)
        : pending.then(() => this.#consume(quotas, cost) ?? this.#ask(quotas, cost)))
  }

  /**
   * Ends expired leases and sends pending corrections to Redis. It also runs by itself ten times a
   * second.
   */
  async sweep (): Promise<void> {
    await this.#counters.sweep()
  }

  /** Returns leased tokens. */
  async close (): Promise<void> {
    await this.#counters.close()
  }

  #consume (quotas: readonly Quota[], cost: number): Decision | undefined {
    const decision = this.#counters.consume(quotas, cost)
    if (decision !== undefined) this.#local.record(quotas, cost)
    return decision
  }

  // Two callbacks instead of an async function, because this runs for every request of the service.
  #ask (quotas: readonly Quota[], cost: number): Promise<Decision | undefined> {
    return this.#question(quotas, cost).then(
      decision => this.#told(quotas, cost, decision),
      (error: unknown) => this.#withoutRedis(quotas, cost, error)
    )
  }

  #question (quotas: readonly Quota[], cost: number): Promise<Decision> {
    if (!this.#redis.isAvailable) return Promise.reject(new RedisUnavailableError())
    if (this.#isLeasing || this.#counters.size > 0) return this.#counters.ask(quotas, cost)
    return this.#redis.consumePlain(quotas, cost)
  }

  #told (quotas: readonly Quota[], cost: number, decision: Decision): Decision {
    // While Redis refuses writes (OOM, READONLY), it still answers requests that count nothing.
    if (this.#isAway && (decision.wait === 0 && cost > 0 || !this.#isRefused)) {
      this.#isAway = false
      this.#settings.log.info({}, 'rate limits are counted in Redis again')
    }
    if (decision.wait === 0) this.#local.record(quotas, cost)
    else this.#denials.add(quotas[decision.limitedBy], cost, decision)
    return decision
  }

  #withoutRedis (quotas: readonly Quota[], cost: number, error: unknown): Decision | undefined {
    const { onStoreError, processes, log } = this.#settings
    const refusal = error instanceof Error && isReply(error.cause) ? error.cause : undefined
    this.#isRefused = refusal !== undefined
    if (!this.#isAway) {
      this.#isAway = true
      log.warn(
        { err: error, error: refusal?.message, onStoreError },
        'rate limits cannot be counted in Redis'
      )
    }
    if (onStoreError === 'local') {
      const decision = this.#local.take(quotas, cost, processes())
      if (decision.wait === 0 && cost > 0) this.#counters.addPendingWrite(quotas, cost)
      return decision
    }
    if (onStoreError === 'open' || cost === 0) return undefined
    throw rateLimitUnavailable(error)
  }
}
