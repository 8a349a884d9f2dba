import type { ScopeLogger } from '@fastify-tenancy/core'
import { isReply, RedisUnavailableError, type TenancyRedis } from '@fastify-tenancy/redis'

import { Accounts } from './accounts.ts'
import { Denials } from './denials.ts'
import { rateLimitUnavailable } from './errors.ts'
import { LocalLimiter } from './local-limiter.ts'
import type { Quota, Verdict } from './quota.ts'
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
  take(quotas: readonly Quota[], cost: number): Verdict | undefined | Promise<Verdict | undefined>
}

/** Counts over all processes, in Redis; in this one for as long as Redis is away. */
export class SharedLimiter implements Limiter {
  readonly #redis: RedisLimiter
  readonly #settings: LimiterSettings
  readonly #accounts: Accounts
  /** This process' own admissions are counted here always: when Redis goes, the count goes on instead of anew. */
  readonly #local: LocalLimiter
  readonly #denials: Denials
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
    this.#accounts = new Accounts(
      this.#redis,
      this.#isLeasing ? () => 2 * settings.processes() : () => 0,
      now
    )
    this.#local = new LocalLimiter(now)
    this.#denials = new Denials(this.#isLeasing ? leasedDenial : Number.POSITIVE_INFINITY, now)
  }

  get isAway (): boolean {
    return this.#isAway
  }

  take (quotas: readonly Quota[], cost: number): Verdict | Promise<Verdict | undefined> {
    const denied = this.#denials.find(quotas, cost)
    if (denied !== undefined) return denied
    if (!this.#isLeasing) return this.#ask(quotas, cost)
    const pending = this.#accounts.pending(quotas)
    return this.#spend(quotas, cost) ??
      (pending === undefined
        ? this.#ask(quotas, cost)
        : pending.then(() => this.#spend(quotas, cost) ?? this.#ask(quotas, cost)))
  }

  /** Gives back leases that have run out, and tells Redis what it has not heard. Happens of itself ten times a second. */
  async sweep (): Promise<void> {
    await this.#accounts.sweep()
  }

  /** Gives leased tokens back. */
  async close (): Promise<void> {
    await this.#accounts.close()
  }

  #spend (quotas: readonly Quota[], cost: number): Verdict | undefined {
    const verdict = this.#accounts.spend(quotas, cost)
    if (verdict !== undefined) this.#local.record(quotas, cost)
    return verdict
  }

  // Two callbacks and no async function: this runs for every request of the service.
  #ask (quotas: readonly Quota[], cost: number): Promise<Verdict | undefined> {
    return this.#question(quotas, cost).then(
      verdict => this.#told(quotas, cost, verdict),
      (error: unknown) => this.#withoutRedis(quotas, cost, error)
    )
  }

  #question (quotas: readonly Quota[], cost: number): Promise<Verdict> {
    if (!this.#redis.isAvailable) return Promise.reject(new RedisUnavailableError())
    if (this.#isLeasing || this.#accounts.size > 0) return this.#accounts.ask(quotas, cost)
    return this.#redis.takePlain(quotas, cost)
  }

  #told (quotas: readonly Quota[], cost: number, verdict: Verdict): Verdict {
    // While Redis refuses writes (OOM, READONLY), it still answers questions that count nothing.
    if (this.#isAway && (verdict.wait === 0 && cost > 0 || !this.#isRefused)) {
      this.#isAway = false
      this.#settings.log.info({}, 'rate limits are counted in Redis again')
    }
    if (verdict.wait === 0) this.#local.record(quotas, cost)
    else this.#denials.add(quotas[verdict.refusedBy], cost, verdict)
    return verdict
  }

  #withoutRedis (quotas: readonly Quota[], cost: number, error: unknown): Verdict | undefined {
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
      const verdict = this.#local.take(quotas, cost, processes())
      if (verdict.wait === 0 && cost > 0) this.#accounts.owe(quotas, cost)
      return verdict
    }
    if (onStoreError === 'open' || cost === 0) return undefined
    throw rateLimitUnavailable(error)
  }
}
