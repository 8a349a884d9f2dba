import { afterCurrentTick } from '@fastify-tenancy/redis'

import { charge, type Quota, type Decision, type SharedDecision } from './quota.ts'

/** Asks Redis to admit up to `asking` requests of one cost. */
type ConsumeMany = (quotas: readonly Quota[], cost: number, asking: number) => Promise<SharedDecision>

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
 * Combines the requests of one event-loop tick with the same quotas and cost into one script call
 * ("admit up to 9"). A Redis command costs more CPU than the rest of the request. See DECISIONS for
 * the order of groups and for when they are sent.
 */
export class BatchedConsumes {
  readonly #take: ConsumeMany
  /** Groups by quota list. All requests of a tenant share one list, until a reload replaces it. */
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

/** Admits the first `admitted` requests. Each gets the count as it was at its turn. */
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
