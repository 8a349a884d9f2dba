import type { EventTenant } from '@fastify-tenancy/core'

/** The label of tenants that are not among the busiest. */
const other = 'other'

/** The label of requests without a tenant. */
export const none = 'none'

/** Tenants with a known weight per label. Tenants beyond are too quiet to get a label. */
const candidatesPerLabel = 10

/** How often labels are assigned, in milliseconds, and the factor by which weights then shrink. */
const interval = 10_000
const decay = 0.8

/**
 * How much busier a tenant must be to take another tenant's label, because labels that change often
 * are useless in a plot.
 */
const lead = 1.5

/**
 * Gives the busiest tenants separate labels. All others share one, so that the number of time
 * series is bounded. The counter of the others never falls, because a tenant that gets a label
 * starts at 0.
 */
export class TopTenants {
  readonly #top: number
  readonly #onLost: (label: string) => void
  readonly #now: () => number
  readonly #labelled = new Set<string>()
  #weights = new Map<string, number>()
  #next: number

  /**
   * @param onLost called with the label that a tenant loses, to remove its time series
   * @param now milliseconds of a monotonic clock
   */
  constructor (top: number, onLost: (label: string) => void, now: () => number = () => performance.now()) {
    this.#top = top
    this.#onLost = onLost
    this.#now = now
    this.#next = now() + interval
  }

  /**
   * Returns the label of a tenant.
   *
   * @param weight the work of this event in milliseconds
   */
  label (tenant: EventTenant | undefined, weight: number): string {
    if (tenant === undefined) return none
    const { id } = tenant
    if (this.#now() >= this.#next) this.#relabel()
    this.#weights.set(id, (this.#weights.get(id) ?? 0) + weight)
    if (this.#labelled.has(id)) return labelOf(id)
    if (this.#labelled.size < this.#top) {
      this.#labelled.add(id)
      return labelOf(id)
    }
    if (this.#weights.size > 2 * this.#candidates) this.#prune()
    return other
  }

  get #candidates (): number {
    return Math.max(1, this.#top) * candidatesPerLabel
  }

  #relabel (): void {
    this.#next = this.#now() + interval
    const weightOf = (id: string): number => this.#weights.get(id) ?? 0
    const rivals = [...this.#weights].filter(([id]) => !this.#labelled.has(id)).toSorted((a, b) =>
      b[1] - a[1]
    )
    const quietest = [...this.#labelled].toSorted((a, b) => weightOf(a) - weightOf(b))
    for (const [at, id] of quietest.entries()) {
      const rival = rivals[at]
      if (rival === undefined || rival[1] <= weightOf(id) * lead) break
      this.#labelled.delete(id)
      this.#onLost(labelOf(id))
      this.#labelled.add(rival[0])
    }
    for (const [id, weight] of this.#weights) this.#weights.set(id, weight * decay)
    this.#prune()
  }

  #prune (): void {
    if (this.#weights.size <= this.#candidates) return
    const kept = [...this.#weights].toSorted((a, b) => b[1] - a[1]).slice(0, this.#candidates)
    this.#weights = new Map(kept)
  }
}

/** Returns the label of a tenant's own series. No id contains a colon, so it never equals another. */
function labelOf (id: string): string {
  return id === other || id === none ? `id:${id}` : id
}
