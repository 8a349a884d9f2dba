import type { Quota, PendingConsume } from './quota.ts'

/** A send about one counter whose reply was lost, so that Redis may have executed it. */
export interface Send {
  readonly number: number
  /** The changes that it should have applied: bucket, count, bucket, count, …. */
  readonly corrections: readonly number[]
  readonly at: number
}

interface UncertainSend {
  readonly quota: Quota
  sends: Send[]
}

const none: Send[] = []
/**
 * Cap of counters with uncertain sends. Beyond it they belong to client addresses and are dropped.
 */
const maxCounters = 10_000
/**
 * Cap of uncertain sends per counter. Beyond it the oldest two are merged, as if the older had not
 * been executed.
 */
const maxSends = 32

/** Sends with unknown outcome, by counter, in the order of their numbers. */
export class UncertainSends {
  readonly #now: () => number
  readonly #uncertainSends = new Map<string, UncertainSend>()
  /** Called when there is a send to settle. */
  onAdded: () => void = () => {}

  /** @param now milliseconds of a monotonic clock. */
  constructor (now: () => number) {
    this.#now = now
  }

  get size (): number {
    return this.#uncertainSends.size
  }

  /**
   * Yields the counters with uncertain sends. Sends that have left the window are dropped, because
   * they no longer affect the count.
   */
  *quotas (): Generator<Quota> {
    const now = this.#now()
    for (const [key, uncertainSend] of this.#uncertainSends) {
      const { width, slots } = uncertainSend.quota.shape
      uncertainSend.sends = uncertainSend.sends.filter(({ at }) => now - at <= width * (slots + 1))
      if (uncertainSend.sends.length === 0) this.#uncertainSends.delete(key)
      else yield uncertainSend.quota
    }
  }

  /**
   * Returns the uncertain sends of each of these counters, for a send that settles them. Undefined
   * if there are none.
   */
  carriedBy (keys: readonly string[]): readonly (readonly Send[])[] | undefined {
    if (this.#uncertainSends.size === 0 || !keys.some(key => this.#uncertainSends.has(key))) return undefined
    return keys.map(key => [...this.#uncertainSends.get(key)?.sends ?? none])
  }

  /** Removes the sends that an executed send carried. */
  settled (keys: readonly string[], carried: readonly (readonly Send[])[]): void {
    for (const [at, key] of keys.entries()) {
      const uncertainSend = this.#uncertainSends.get(key)
      if (uncertainSend === undefined) continue
      const numbers = new Set(carried[at]?.map(({ number }) => number))
      uncertainSend.sends = uncertainSend.sends.filter(({ number }) => !numbers.has(number))
      if (uncertainSend.sends.length === 0) this.#uncertainSends.delete(key)
    }
  }

  /** Records a send without a reply. A send that could not change a counter is not recorded. */
  add (
    number: number,
    asked: readonly PendingConsume[],
    carried: readonly (readonly Send[])[] | undefined,
    mayCount: boolean
  ): void {
    for (const [at, { quota, corrections }] of asked.entries()) {
      const before = carried?.[at] ?? none
      if (!mayCount && corrections.length === 0 && before.length === 0) continue
      this.#push(quota, { number, corrections, at: this.#now() })
    }
    if (this.#uncertainSends.size > 0) this.onAdded()
  }

  #push (quota: Quota, send: Send): void {
    const uncertainSend = this.#uncertainSends.get(quota.key)
    if (uncertainSend === undefined) {
      if (this.#uncertainSends.size < maxCounters)
        this.#uncertainSends.set(quota.key, { quota, sends: [send] })
      return
    }
    uncertainSend.sends = [...uncertainSend.sends, send].toSorted((a, b) => a.number - b.number)
    if (uncertainSend.sends.length <= maxSends) return
    const [oldest, next, ...rest] = uncertainSend.sends as [Send, Send, ...Send[]]
    uncertainSend.sends = [{ ...next, corrections: [...oldest.corrections, ...next.corrections] }, ...rest]
  }
}
