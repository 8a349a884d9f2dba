import type { ScopeLogger } from '@fastify-tenancy/core'
import { isReply, RedisUnavailableError, type TenancyRedis } from '@fastify-tenancy/redis'

import { DenyCache } from './deny-cache.ts'
import { rateLimitUnavailable } from './errors.ts'
import { LeasedCounters } from './leased-counters.ts'
import { LocalLimiter } from './local-limiter.ts'
import type { Quota, Decision } from './quota.ts'
import { RedisLimiter } from './redis-limiter.ts'

/** What happens when Redis cannot be asked: count in process by a share, let everything pass, or refuse everything. */
export type OnStoreError = 'local' | 'open' | 'closed'

/** Whether Redis is asked for each request, or lends a process small batches of tokens. */
export type Precision = 'exact' | 'leased'

export interface LimiterSettings {
  readonly onStoreError: OnStoreError
  readonly precision: Precision
  readonly log: ScopeLogger
  /** How many processes were last seen to share the limits. */
  readonly processes: () => number
}

/** How long a refusal holds where leases may come back: others' rests do within a second or so. */
const leasedDenial = 1_000

/** Lets a request pass or not, by Redis where there is one. */
export interface Limiter {
  /** Undefined: it could not be told, and the request is to pass. Quotas must not be empty. */
  take(quotas: readonly Quota[], cost: number): Decision | undefined | Promise<Decision | undefined>
}

/** Counts over all processes, in Redis; in this one for as long as Redis is away. */
export class SharedLimiter implements Limiter {
  readonly #redis: RedisLimiter
  readonly #settings: LimiterSettings
  readonly #counters: LeasedCounters
  /** This process' own admissions are counted here always: when Redis goes, the count goes on instead of anew. */
  readonly #local: LocalLimiter
  readonly #denials: DenyCache
  readonly #isLeasing: boolean
  #isAway = false
  /** Whether Redis answered, and refused to count. */
  #isRefused = false

  /** @param now milliseconds of a clock that does not go back. */
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

  /** Gives back leases that have run out, and tells Redis what it has not heard. Happens of itself ten times a second. */
  async sweep (): Promise<void> {
    await this.#counters.sweep()
  }

  /** Gives leased tokens back. */
  async close (): Promise<void> {
    await this.#counters.close()
  }

  #consume (quotas: readonly Quota[], cost: number): Decision | undefined {
    const decision = this.#counters.consume(quotas, cost)
    if (decision !== undefined) this.#local.record(quotas, cost)
    return decision
  }

  // Two callbacks and no async function: this runs for every request of the service.
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
    // While Redis refuses writes (OOM, READONLY), it still answers questions that count nothing.
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
