import { InternalError } from '@fastify-tenancy/core'
import type { TenancyRedis } from '@fastify-tenancy/redis'
import { randomBytes } from 'node:crypto'

import { Doubts, type Send } from './doubts.ts'
import { GatheredTakes } from './gathered-takes.ts'
import type { Quota, Verdict } from './quota.ts'
import { takeScript } from './take-script.ts'

export { takeScript } from './take-script.ts'

const none: readonly number[] = []

/** How often a send that came too late is sent again. It had no effect. */
const retries = 3

/** One counter of a request, and what else its process has to say of it. */
export interface Asked {
  readonly quota: Quota
  /** 2 × processes to lease a batch of tokens, 0 for none. */
  readonly lots: number
  /** Bucket, count, bucket, count, …: what to add to the counter first. */
  readonly corrections: readonly number[]
}

/** A verdict of all processes together. */
export interface SharedVerdict extends Verdict {
  /** How many of those who asked together are admitted; `used` counts them all, `wait` is the others'. */
  readonly admitted: number
  /** The server's clock, in milliseconds. */
  readonly now: number
  /** The tokens that were leased of each counter, beyond the request's own. */
  readonly extras: readonly number[]
}

/**
 * Counts for all processes together, in Redis. Rejects when Redis does not answer; then the caller decides by itself,
 * and the next send about the same counters tells Redis to forget that one, if it was executed.
 */
export class RedisLimiter {
  /** Sends whose outcome is not known. */
  readonly doubts: Doubts
  /** What a process has to correct at a counter; it counts as sent when it is taken. Replaced by {@link Accounts}. */
  drain: (key: string) => readonly number[] = () => none
  /** About how many processes send, so that one read brings the list of their sends. */
  senders: () => number = () => 1
  readonly #redis: TenancyRedis
  readonly #now: () => number
  readonly #sender = randomBytes(6).toString('base64url')
  readonly #inFlight = new Set<number>()
  #sent = 0
  readonly #gathered = new GatheredTakes((quotas, cost, asking) =>
    this.take(quotas.map(quota => ({ quota, lots: 0, corrections: this.drain(quota.key) })), cost, asking)
  )
  #ahead = performance.timeOrigin

  /** @param now milliseconds of a clock that does not go back. */
  constructor (redis: TenancyRedis, now: () => number) {
    this.#redis = redis
    this.#now = now
    this.doubts = new Doubts(now)
  }

  /** The server's clock minus ours, never too small; as long as the server was not heard of, the wall clock minus ours. */
  get ahead (): number {
    return this.#ahead
  }

  /** Whether a question would be sent now; one that is not sent has taken no effect. */
  get isAvailable (): boolean {
    return this.#redis.isAvailable
  }

  /** Asks for a request, and for no lease. */
  takePlain (quotas: readonly Quota[], cost: number): Promise<Verdict> {
    return this.#gathered.take(quotas, cost)
  }

  /** Asks for so many requests of this cost. */
  take (asked: readonly Asked[], cost: number, asking = 1): Promise<SharedVerdict> {
    return this.#take(asked, cost, asking, retries)
  }

  #take (asked: readonly Asked[], cost: number, asking: number, left: number): Promise<SharedVerdict> {
    const number = ++this.#sent
    const keys: string[] = []
    const args: (string | number)[] = [cost, asking]
    for (const { quota: { key, limit, shape, smoothing }, lots, corrections } of asked) {
      keys.push(key)
      args.push(
        shape.width,
        shape.slots,
        limit,
        smoothing ? 1 : 0,
        lots,
        corrections.length / 2,
        ...corrections
      )
    }
    const carried = this.doubts.carriedBy(keys)
    args.push(
      this.#sender,
      number,
      this.#known(number, carried),
      this.senders(),
      carried === undefined ? 0 : 1
    )
    if (carried !== undefined) { for (const sends of carried) writeDoubts(args, sends) }
    this.#inFlight.add(number)
    const sentAt = this.#now()
    return this.#redis.run(takeScript, keys, args).then(reply => {
      this.#inFlight.delete(number)
      if (reply === 'late') return this.#again(asked, cost, asking, left)
      if (carried !== undefined) this.doubts.settled(keys, carried)
      const verdict = parse(reply)
      this.#ahead = verdict.now - sentAt
      return verdict
    }, (error: unknown) => {
      this.#inFlight.delete(number)
      this.doubts.add(number, asked, carried, cost > 0)
      throw error
    })
  }

  // Scripts that the server forgot are sent again whole, and may be overtaken by newer ones.
  #again (asked: readonly Asked[], cost: number, asking: number, left: number): Promise<SharedVerdict> {
    if (left > 0) return this.#take(asked, cost, asking, left - 1)
    this.doubts.add(this.#sent, asked, undefined, false)
    return Promise.reject(new InternalError('newer questions overtook this one again and again'))
  }

  /** The number up to which the outcome of all sends to these counters is known. */
  #known (number: number, carried: readonly (readonly Send[])[] | undefined): number {
    let oldest = number
    for (const inFlight of this.#inFlight) {
      oldest = inFlight
      break
    }
    for (const sends of carried ?? []) oldest = Math.min(oldest, sends[0]?.number ?? oldest)
    return oldest - 1
  }
}

function writeDoubts (args: (string | number)[], sends: readonly Send[]): void {
  args.push(sends.length)
  for (const { number, corrections } of sends) args.push(number, corrections.length / 2, ...corrections)
}

function parse (reply: unknown): SharedVerdict {
  const [admitted = 0, wait = 0, refusedBy = 0, used = 0, reset = 0, now = 0, ...extras] = String(reply)
    .split(' ').map(Number)
  return { admitted, wait, refusedBy, used, reset, now, extras }
}
