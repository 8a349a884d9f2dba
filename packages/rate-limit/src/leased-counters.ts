import { LeasedCounter } from './leased-counter.ts'
import { charge, type Quota, type Decision, type SharedDecision, type PendingConsume } from './quota.ts'
import type { RedisLimiter } from './redis-limiter.ts'

const sweepEvery = 100
/**
 * Counters settled in one sweep at most. More could push a recovering Redis into its next outage.
 */
const settledAtOnce = 1_000
/**
 * Cap for keys that clients can choose (addresses). Beyond it every request asks Redis directly,
 * and requests admitted during an outage are not written back.
 */
const maxOverflowing = 10_000

/** The part of a request to Redis that concerns one counter. */
interface CounterRequest extends PendingConsume {
  /** Index of the quota in the request. */
  readonly at: number
  readonly counter: LeasedCounter | undefined
}

/** Tokens taken from a live lease for a request that also has to ask Redis about other counters. */
interface Held {
  readonly counter: LeasedCounter
  readonly bucket: number
  readonly pendingWrite: number
}

/**
 * The counters of which this process holds a lease or has corrections: spent tokens, unspent
 * tokens, and requests admitted while Redis was away.
 *
 * Corrections travel with the next request about the counter. A sweep, ten times a second, sends
 * those of idle counters.
 */
export class LeasedCounters {
  readonly #redis: RedisLimiter
  /** Returns 2 × processes, or 0 if nothing is leased. */
  readonly #leaseDivisor: () => number
  readonly #now: () => number
  readonly #counters = new Map<string, LeasedCounter>()
  /** Counters that a sweep is settling. */
  readonly #settling = new Set<string>()
  #timer: NodeJS.Timeout | undefined
  #isClosed = false

  constructor (redis: RedisLimiter, leaseDivisor: () => number, now: () => number) {
    this.#redis = redis
    this.#leaseDivisor = leaseDivisor
    this.#now = now
    redis.drain = key => this.#counters.get(key)?.drain() ?? []
    redis.uncertainSends.onAdded = () => {
      this.#start()
    }
  }

  /** Number of counters kept. */
  get size (): number {
    return this.#counters.size
  }

  /**
   * Admits a request if all its counters have enough leased tokens. Otherwise spends nothing and
   * returns undefined.
   */
  consume (quotas: readonly Quota[], cost: number): Decision | undefined {
    if (this.#counters.size === 0) return undefined
    const now = this.#now()
    for (let at = 0; at < quotas.length; at++) {
      const { key, limit } = quotas[at]!
      if (this.#counters.get(key)?.covers(charge(cost, limit), limit, now) !== true) return undefined
    }
    for (let at = 0; at < quotas.length; at++) {
      const { key, limit } = quotas[at]!
      this.#counters.get(key)!.consume(charge(cost, limit), now)
    }
    const { used, reset } = this.#counters.get(quotas[0]!.key)!.snapshot(now)
    return { wait: 0, limitedBy: -1, used, reset }
  }

  /**
   * Returns the pending reply that may bring tokens for one of these counters, if waiting for it is
   * useful.
   */
  pending (quotas: readonly Quota[]): Promise<unknown> | undefined {
    for (const { key } of quotas) {
      const counter = this.#counters.get(key)
      if (counter?.asking !== undefined && !counter.isScarce) return counter.asking
    }
    return undefined
  }

  /**
   * Asks Redis about the counters without tokens, and for a lease of them. Counters with tokens
   * spend their own.
   */
  async ask (quotas: readonly Quota[], cost: number): Promise<Decision> {
    const now = this.#now()
    const questions: CounterRequest[] = []
    const held: Held[] = []
    for (const [at, quota] of quotas.entries()) {
      const counter = this.#counterOf(quota)
      const pendingWrite = charge(cost, quota.limit)
      if (counter?.covers(pendingWrite, quota.limit, now) === true)
        held.push({ counter, bucket: counter.consume(pendingWrite, now), pendingWrite })
      else questions.push(this.#question(at, quota, counter, cost))
    }
    const answered = Promise.withResolvers<void>()
    for (const { counter, leaseDivisor } of questions)
      if (leaseDivisor > 0) counter!.asking = answered.promise
    try {
      const decision = await this.#redis.take(questions, cost)
      if (decision.wait > 0) release(held) // another counter refused the request
      for (const [at, { quota, counter, leaseDivisor }] of questions.entries()) {
        if (leaseDivisor > 0) counter!.open(decision.extras[at] ?? 0, quota.limit, decision, now)
      }
      return this.#whole(quotas, questions, decision)
    } catch (error) {
      release(held)
      throw error
    } finally {
      for (const { counter, leaseDivisor } of questions) if (leaseDivisor > 0) counter!.asking = undefined
      answered.resolve()
    }
  }

  /** Records a request that was admitted without Redis, to be counted there after the outage. */
  addPendingWrite (quotas: readonly Quota[], cost: number): void {
    for (const quota of quotas) {
      if (!this.#isFull(quota)) this.#opened(quota).addPendingWrite(charge(cost, quota.limit), this.#now())
    }
  }

  /**
   * Ends expired leases. Sends corrections and uncertain sends that no request is about to send.
   */
  async sweep (): Promise<void> {
    const now = this.#now()
    const settling: Promise<unknown>[] = []
    const settle = (quota: Quota): void => {
      if (this.#redis.isAvailable && settling.length < settledAtOnce) settling.push(this.#settle(quota))
    }
    for (const [key, counter] of this.#counters) {
      counter.end(now)
      if (counter.isDone(now)) this.#counters.delete(key)
      else if (!counter.isBusy) settle(counter.quota)
    }
    for (const quota of this.#redis.uncertainSends.quotas()) settle(quota)
    if (this.#counters.size === 0 && this.#redis.uncertainSends.size === 0) this.#stop()
    await Promise.all(settling)
  }

  /** Returns all leases to Redis. */
  async close (): Promise<void> {
    this.#isClosed = true
    this.#stop()
    for (const counter of this.#counters.values()) counter.end()
    const idle = [...this.#counters.values()].filter(counter => !counter.isBusy).map(counter => counter.quota)
    const quotas = new Map([...idle, ...this.#redis.uncertainSends.quotas()].map(quota => [quota.key, quota]))
    await Promise.all([...quotas.values()].map(quota => this.#settle(quota)))
  }

  /** A failed send becomes an uncertain send, which a later sweep settles. */
  async #settle (quota: Quota): Promise<void> {
    if (this.#settling.has(quota.key)) return
    this.#settling.add(quota.key)
    const corrections = this.#redis.drain(quota.key)
    await this.#redis.take([{ quota, leaseDivisor: 0, corrections }], 0).catch(() => {})
    this.#settling.delete(quota.key)
  }

  #question (at: number, quota: Quota, counter: LeasedCounter | undefined, cost: number): CounterRequest {
    counter?.end()
    return {
      at,
      quota,
      counter,
      leaseDivisor: cost === 0 || counter === undefined || counter.asking !== undefined
        ? 0
        : this.#leaseDivisor(),
      corrections: counter?.drain() ?? []
    }
  }

  /** Converts the decision about the asked counters into one about all quotas of the request. */
  #whole (
    quotas: readonly Quota[],
    questions: readonly CounterRequest[],
    { wait, limitedBy, used, reset }: SharedDecision
  ): Decision {
    const first = questions[0]?.at === 0
      ? { used, reset }
      : this.#counters.get(quotas[0]!.key)?.snapshot(this.#now()) ?? { used, reset }
    return { wait, limitedBy: questions[limitedBy]?.at ?? -1, ...first }
  }

  /**
   * Returns the leased counter of a quota. Undefined if nothing is leased and there are no
   * corrections.
   */
  #counterOf (quota: Quota): LeasedCounter | undefined {
    return this.#leaseDivisor() > 0 && !this.#isFull(quota)
      ? this.#opened(quota)
      : this.#counters.get(quota.key)
  }

  #isFull (quota: Quota): boolean {
    return quota.overflow !== undefined && this.#counters.size >= maxOverflowing
  }

  #opened (quota: Quota): LeasedCounter {
    const found = this.#counters.get(quota.key)
    if (found !== undefined) return found
    const counter = new LeasedCounter(quota, this.#redis.ahead)
    this.#counters.set(quota.key, counter)
    this.#start()
    return counter
  }

  #start (): void {
    if (!this.#isClosed)
      this.#timer ??= setInterval(() => {
        void this.sweep()
      }, sweepEvery).unref()
  }

  #stop (): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }
}

function release (held: readonly Held[]): void {
  for (const { counter, bucket, pendingWrite } of held) counter.release(bucket, pendingWrite)
}
