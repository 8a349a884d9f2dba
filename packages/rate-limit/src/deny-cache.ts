import { LRUCache } from 'lru-cache'

import type { Quota, Decision } from './quota.ts'

/** A refusal that Redis gave, and holds until `until` for every request as dear as the one refused. */
interface Denial {
  readonly until: number
  readonly limit: number
  readonly cost: number
  readonly decision: Decision
  readonly at: number
}

/**
 * Refusals that need not be asked for again. Nothing is admitted before the time that Redis gave: a window only empties
 * by time, and others only fill it. Where leases may come back into it, a refusal holds for a second at most.
 */
export class DenyCache {
  readonly #longest: number
  readonly #now: () => number
  readonly #denials = new LRUCache<string, Denial>({ max: 10_000 })

  /** @param longest milliseconds. */
  constructor (longest: number, now: () => number) {
    this.#longest = longest
    this.#now = now
  }

  /** @param quota the one that made for the longest wait. */
  add (quota: Quota | undefined, cost: number, decision: Decision): void {
    if (quota === undefined) return
    const at = this.#now()
    this.#denials.set(quota.key, {
      until: at + Math.min(decision.wait, this.#longest),
      limit: quota.limit,
      cost,
      decision,
      at
    })
  }

  /** The refusal that holds for a request, with what is left to wait. */
  find (quotas: readonly Quota[], cost: number): Decision | undefined {
    if (this.#denials.size === 0) return undefined
    const now = this.#now()
    for (const quota of quotas) {
      const denial = this.#denials.get(quota.key)
      if (denial === undefined) continue
      if (now < denial.until && quota.limit <= denial.limit && cost >= denial.cost) {
        const { decision, at } = denial
        return {
          ...decision,
          wait: Math.max(1, Math.ceil(decision.wait - (now - at))),
          reset: Math.max(0, Math.ceil(decision.reset - (now - at)))
        }
      }
      if (now >= denial.until) this.#denials.delete(quota.key)
    }
    return undefined
  }
}
