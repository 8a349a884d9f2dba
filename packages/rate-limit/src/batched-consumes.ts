import { afterCurrentTick } from '@fastify-tenancy/redis'

import { charge, type Quota, type Decision, type SharedDecision } from './quota.ts'

/** Asks Redis for so many requests of one cost. */
export type ConsumeMany = (quotas: readonly Quota[], cost: number, asking: number) => Promise<SharedDecision>

interface Asker {
  readonly resolve: (decision: Decision) => void
  readonly reject: (error: unknown) => void
}

interface Gathered {
  readonly quotas: readonly Quota[]
  readonly cost: number
  readonly askers: Asker[]
}

/**
 * Makes one question of what one turn of the event loop asks of the same counters at the same cost: "of these nine, how many?"
 * A command costs the process more than all else that it does for a request. Each gets the verdict that he would have got
 * had those with the same list asked one after another; of two lists that share a counter (a route with limits of its own) the
 * one asked first goes first as a whole. One that times out is one failure to the breaker, however many waited for it. The first is asked when what runs now has ended, so that nobody waits;
 * while an answer is awaited, those of the whole turn go together.
 */
export class BatchedConsumes {
  readonly #take: ConsumeMany
  /** By the list itself: a tenant's is the same for all its requests, and another one after a reload. */
  readonly #gathered = new Map<readonly Quota[], Gathered>()
  #inFlight = 0

  constructor (take: ConsumeMany) {
    this.#take = take
  }

  take (quotas: readonly Quota[], cost: number): Promise<Decision> {
    return new Promise((resolve, reject) => {
      this.#askersOf(quotas, cost).push({ resolve, reject })
    })
  }

  #askersOf (quotas: readonly Quota[], cost: number): Asker[] {
    const found = this.#gathered.get(quotas)
    if (found?.cost === cost) return found.askers
    if (found !== undefined) void this.#send(found)
    else if (this.#gathered.size === 0) this.#schedule()
    const gathered: Gathered = { quotas, cost, askers: [] }
    this.#gathered.set(quotas, gathered)
    return gathered.askers
  }

  #schedule (): void {
    if (this.#inFlight === 0) process.nextTick(this.#sendAll)
    else afterCurrentTick(this.#sendAll)
  }

  readonly #sendAll = (): void => {
    for (const gathered of this.#gathered.values()) void this.#send(gathered)
    this.#gathered.clear()
  }

  async #send ({ quotas, cost, askers }: Gathered): Promise<void> {
    this.#inFlight++
    try {
      settle(askers, await this.#take(quotas, cost, askers.length), charge(cost, quotas[0]!.limit))
    } catch (error) {
      for (const { reject } of askers) reject(error)
    } finally {
      this.#inFlight--
    }
  }
}

/** The first so many are admitted, each with the count as it stood then. */
function settle (
  askers: readonly Asker[],
  { admitted, wait, limitedBy, used, reset }: SharedDecision,
  pendingWrite: number
): void {
  for (const [at, { resolve }] of askers.entries()) {
    resolve(
      at < admitted
        ? { wait: 0, limitedBy: -1, used: used - (admitted - 1 - at) * pendingWrite, reset }
        : { wait, limitedBy, used, reset }
    )
  }
}
