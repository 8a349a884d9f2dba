import { Account } from './account.ts'
import { charge, type Quota, type Verdict } from './quota.ts'
import type { Asked, RedisLimiter, SharedVerdict } from './redis-limiter.ts'

const sweepEvery = 100
/** At most so many counters are settled in one sweep: a Redis that comes back must not be flooded into its next outage. */
const settledAtOnce = 1_000
/** Where strangers choose the key, no more is kept: further addresses are asked for one by one, and what they owe goes unreported. */
const maxOverflowing = 10_000

/** What Redis is asked about one counter of a request. */
interface Question extends Asked {
  /** Which of the request's quotas it is. */
  readonly at: number
  readonly account: Account | undefined
}

/** Tokens taken from a live lease for a request whose other counters are being asked. */
interface Held {
  readonly account: Account
  readonly bucket: number
  readonly owed: number
}

/**
 * The counters of which this process holds a lease, or has something to tell to Redis: what of a lease was spent when,
 * what was not, and what was admitted while Redis was away. All of that travels with the next question about the
 * counter, or with the sweep, ten times a second, for those of which nobody asks.
 */
export class Accounts {
  readonly #redis: RedisLimiter
  /** 2 × processes; 0 where nothing is leased. */
  readonly #lots: () => number
  readonly #now: () => number
  readonly #accounts = new Map<string, Account>()
  /** Counters about which a sweep has asked. */
  readonly #settling = new Set<string>()
  #timer: NodeJS.Timeout | undefined
  #isClosed = false

  constructor (redis: RedisLimiter, lots: () => number, now: () => number) {
    this.#redis = redis
    this.#lots = lots
    this.#now = now
    redis.drain = key => this.#accounts.get(key)?.drain() ?? []
    redis.doubts.onAdded = () => {
      this.#start()
    }
  }

  /** How many counters are kept. */
  get size (): number {
    return this.#accounts.size
  }

  /** Admits a request whose counters all have leased tokens left; else undefined, and nothing was spent. */
  spend (quotas: readonly Quota[], cost: number): Verdict | undefined {
    if (this.#accounts.size === 0) return undefined
    const now = this.#now()
    for (let at = 0; at < quotas.length; at++) {
      const { key, limit } = quotas[at]!
      if (this.#accounts.get(key)?.covers(charge(cost, limit), limit, now) !== true) return undefined
    }
    for (let at = 0; at < quotas.length; at++) {
      const { key, limit } = quotas[at]!
      this.#accounts.get(key)!.spend(charge(cost, limit), now)
    }
    const { used, reset } = this.#accounts.get(quotas[0]!.key)!.standing(now)
    return { wait: 0, refusedBy: -1, used, reset }
  }

  /** The answer that may bring tokens for one of these, where it is worth waiting for. */
  pending (quotas: readonly Quota[]): Promise<unknown> | undefined {
    for (const { key } of quotas) {
      const account = this.#accounts.get(key)
      if (account?.asking !== undefined && !account.isScarce) return account.asking
    }
    return undefined
  }

  /** Asks Redis about the counters that have no tokens left, for a lease too; the others give of their own. */
  async ask (quotas: readonly Quota[], cost: number): Promise<Verdict> {
    const now = this.#now()
    const questions: Question[] = []
    const held: Held[] = []
    for (const [at, quota] of quotas.entries()) {
      const account = this.#account(quota)
      const owed = charge(cost, quota.limit)
      if (account?.covers(owed, quota.limit, now) === true)
        held.push({ account, bucket: account.spend(owed, now), owed })
      else questions.push(this.#question(at, quota, account, cost))
    }
    const answered = Promise.withResolvers<void>()
    for (const { account, lots } of questions) if (lots > 0) account!.asking = answered.promise
    try {
      const verdict = await this.#redis.take(questions, cost)
      if (verdict.wait > 0) release(held) // a request that another counter refused has spent nothing
      for (const [at, { quota, account, lots }] of questions.entries()) {
        if (lots > 0) account!.open(verdict.extras[at] ?? 0, quota.limit, verdict, now)
      }
      return this.#whole(quotas, questions, verdict)
    } catch (error) {
      release(held)
      throw error
    } finally {
      for (const { account, lots } of questions) if (lots > 0) account!.asking = undefined
      answered.resolve()
    }
  }

  /** Notes a request that was admitted without Redis, to be counted there when it is back. */
  owe (quotas: readonly Quota[], cost: number): void {
    for (const quota of quotas) {
      if (!this.#isFull(quota)) this.#opened(quota).owe(charge(cost, quota.limit), this.#now())
    }
  }

  /** Gives back what has run out, and sends to Redis what no question is about to send: corrections, and sends in doubt. */
  async sweep (): Promise<void> {
    const now = this.#now()
    const settling: Promise<unknown>[] = []
    const settle = (quota: Quota): void => {
      if (this.#redis.isAvailable && settling.length < settledAtOnce) settling.push(this.#settle(quota))
    }
    for (const [key, account] of this.#accounts) {
      account.end(now)
      if (account.isDone(now)) this.#accounts.delete(key)
      else if (!account.isBusy) settle(account.quota)
    }
    for (const quota of this.#redis.doubts.quotas()) settle(quota)
    if (this.#accounts.size === 0 && this.#redis.doubts.size === 0) this.#stop()
    await Promise.all(settling)
  }

  /** Gives all leases back. */
  async close (): Promise<void> {
    this.#isClosed = true
    this.#stop()
    for (const account of this.#accounts.values()) account.end()
    const idle = [...this.#accounts.values()].filter(account => !account.isBusy).map(account => account.quota)
    const quotas = new Map([...idle, ...this.#redis.doubts.quotas()].map(quota => [quota.key, quota]))
    await Promise.all([...quotas.values()].map(quota => this.#settle(quota)))
  }

  /** What fails is in doubt then, and is settled by a later sweep. */
  async #settle (quota: Quota): Promise<void> {
    if (this.#settling.has(quota.key)) return
    this.#settling.add(quota.key)
    const corrections = this.#redis.drain(quota.key)
    await this.#redis.take([{ quota, lots: 0, corrections }], 0).catch(() => {})
    this.#settling.delete(quota.key)
  }

  #question (at: number, quota: Quota, account: Account | undefined, cost: number): Question {
    account?.end()
    return {
      at,
      quota,
      account,
      lots: cost === 0 || account === undefined || account.asking !== undefined ? 0 : this.#lots(),
      corrections: account?.drain() ?? []
    }
  }

  /** The verdict on the questions, as one on all quotas of the request. */
  #whole (
    quotas: readonly Quota[],
    questions: readonly Question[],
    { wait, refusedBy, used, reset }: SharedVerdict
  ): Verdict {
    const first = questions[0]?.at === 0
      ? { used, reset }
      : this.#accounts.get(quotas[0]!.key)?.standing(this.#now()) ?? { used, reset }
    return { wait, refusedBy: questions[refusedBy]?.at ?? -1, ...first }
  }

  /** The account of a counter; undefined where nothing is leased and nothing is owed. */
  #account (quota: Quota): Account | undefined {
    return this.#lots() > 0 && !this.#isFull(quota) ? this.#opened(quota) : this.#accounts.get(quota.key)
  }

  #isFull (quota: Quota): boolean {
    return quota.overflow !== undefined && this.#accounts.size >= maxOverflowing
  }

  #opened (quota: Quota): Account {
    const found = this.#accounts.get(quota.key)
    if (found !== undefined) return found
    const account = new Account(quota, this.#redis.ahead)
    this.#accounts.set(quota.key, account)
    this.#start()
    return account
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
  for (const { account, bucket, owed } of held) account.release(bucket, owed)
}
