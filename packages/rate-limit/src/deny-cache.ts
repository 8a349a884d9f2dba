import { LRUCache } from 'lru-cache'

import type { Quota, Decision } from './quota.ts'

/**
 * A refusal by Redis. Until `until` it applies to every request that costs at least as much as the
 * refused one.
 */
interface Denial {
  readonly until: number
  readonly limit: number
  readonly cost: number
  readonly decision: Decision
  readonly at: number
}

/**
 * Caches refusals, so that Redis is not asked again. Redis admits nothing before the time it
 * returned: a window empties only with time, and other requests only fill it. If leases can return
 * tokens, a refusal applies for a second at most.
 */
export class DenyCache {
  readonly #longest: number
  readonly #now: () => number
  readonly #denials = new LRUCache<string, Denial>({ max: 10_000 })

  /** @param longest longest lifetime of a refusal, in milliseconds. */
  constructor (longest: number, now: () => number) {
    this.#longest = longest
    this.#now = now
  }

  /** @param quota the quota with the longest wait. */
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

  /** Returns the refusal that applies to a request, with the remaining wait. */
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
