import { InternalError } from '@fastify-tenancy/core/errors'
import type { TenancyRedis } from '@fastify-tenancy/redis'
import { randomBytes } from 'node:crypto'

import { BatchedConsumes } from './batched-consumes.ts'
import { consumeScript } from './consume-script.ts'
import type { Quota, Decision, SharedDecision, PendingConsume } from './quota.ts'
import { UncertainSends, type Send } from './uncertain-sends.ts'

export { consumeScript } from './consume-script.ts'

const none: readonly number[] = []

/** Number of retries of a send that arrived too late and had no effect. */
const retries = 3

/**
 * Counts over all processes in Redis. Rejects if Redis does not answer, and the caller then decides
 * alone. The next send about the same counters tells Redis to undo the lost one, if Redis executed
 * it.
 */
export class RedisLimiter {
  /** Sends with unknown outcome. */
  readonly uncertainSends: UncertainSends
  /**
   * Returns the corrections of a counter and treats them as sent. Replaced by {@link
   * LeasedCounters}.
   */
  drain: (key: string) => readonly number[] = () => none
  /** Estimates how many processes send, so that one read fetches their whole list of sends. */
  senders: () => number = () => 1
  readonly #redis: TenancyRedis
  readonly #now: () => number
  readonly #sender = randomBytes(6).toString('base64url')
  readonly #inFlight = new Set<number>()
  #sent = 0
  readonly #gathered = new BatchedConsumes((quotas, cost, asking) =>
    this.take(
      quotas.map(quota => ({ quota, leaseDivisor: 0, corrections: this.drain(quota.key) })),
      cost,
      asking
    )
  )
  #ahead = performance.timeOrigin

  /** @param now milliseconds of a monotonic clock. */
  constructor (redis: TenancyRedis, now: () => number) {
    this.#redis = redis
    this.#now = now
    this.uncertainSends = new UncertainSends(now)
  }

  /**
   * The server's clock minus ours, never too small. Before the first reply it is the wall clock
   * minus ours.
   */
  get ahead (): number {
    return this.#ahead
  }

  /** Whether a request would be sent now. A request that is not sent has no effect. */
  get isAvailable (): boolean {
    return this.#redis.isAvailable
  }

  /** Asks for a request without a lease. */
  consumePlain (quotas: readonly Quota[], cost: number): Promise<Decision> {
    return this.#gathered.take(quotas, cost)
  }

  /** Asks for a number of requests of this cost. */
  take (asked: readonly PendingConsume[], cost: number, asking = 1): Promise<SharedDecision> {
    return this.#take(asked, cost, asking, retries)
  }

  #take (
    asked: readonly PendingConsume[],
    cost: number,
    asking: number,
    left: number
  ): Promise<SharedDecision> {
    const number = ++this.#sent
    const keys: string[] = []
    const args: (string | number)[] = [cost, asking]
    for (const { quota: { key, limit, shape, smoothing }, leaseDivisor, corrections } of asked) {
      keys.push(key)
      args.push(
        shape.width,
        shape.slots,
        limit,
        smoothing ? 1 : 0,
        leaseDivisor,
        corrections.length / 2,
        ...corrections
      )
    }
    const carried = this.uncertainSends.carriedBy(keys)
    args.push(
      this.#sender,
      number,
      this.#known(number, carried),
      this.#listEnd(),
      carried === undefined ? 0 : 1
    )
    if (carried !== undefined) { for (const sends of carried) writeUncertainSends(args, sends) }
    this.#inFlight.add(number)
    const sentAt = this.#now()
    return this.#redis.run(consumeScript, keys, args).then(reply => {
      this.#inFlight.delete(number)
      if (reply === 'late') return this.#again(asked, cost, asking, left)
      if (carried !== undefined) this.uncertainSends.settled(keys, carried)
      const decision = parse(reply)
      this.#ahead = decision.now - sentAt
      return decision
    }, (error: unknown) => {
      this.#inFlight.delete(number)
      this.uncertainSends.add(number, asked, carried, cost > 0)
      throw error
    })
  }

  // If the server lost the script, the client sends it again in full, and newer sends may overtake
  // it.
  #again (
    asked: readonly PendingConsume[],
    cost: number,
    asking: number,
    left: number
  ): Promise<SharedDecision> {
    if (left > 0) return this.#take(asked, cost, asking, left - 1)
    this.uncertainSends.add(this.#sent, asked, undefined, false)
    return Promise.reject(new InternalError('newer sends repeatedly overtook this one'))
  }

  /**
   * Returns the usual last byte of the list of sends. An entry has room for each send with unknown
   * outcome.
   */
  #listEnd (): number {
    const places = Math.min(16, Math.max(2, this.#inFlight.size + 1))
    return 41 + this.senders() * (17 + 20 * places)
  }

  /** Returns the number up to which the outcome of all sends to these counters is known. */
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

function writeUncertainSends (args: (string | number)[], sends: readonly Send[]): void {
  args.push(sends.length)
  for (const { number, corrections } of sends) args.push(number, corrections.length / 2, ...corrections)
}

function parse (reply: unknown): SharedDecision {
  const [admitted = 0, wait = 0, limitedBy = 0, used = 0, reset = 0, seconds = 0, micros = 0, ...extras] =
    String(reply).split(' ').map(Number)
  const now = seconds * 1_000 + Math.floor(micros / 1_000)
  return { admitted, wait, limitedBy, used, reset, now, extras }
}
