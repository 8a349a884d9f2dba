import type { Quota, PendingConsume } from './quota.ts'

/** A send about one counter whose answer was lost, so that Redis may have executed it. */
export interface Send {
  readonly number: number
  /** What it was to add to the counter, as bucket, count, bucket, count, …. */
  readonly corrections: readonly number[]
  readonly at: number
}

interface UncertainSend {
  readonly quota: Quota
  sends: Send[]
}

const none: Send[] = []
/** Counters with doubts: more would be those of strangers' addresses, whose doubts are dropped. */
const maxCounters = 10_000
/** Doubts of one counter. Of more, the oldest two become one, as if the older had not been executed. */
const maxSends = 32

/** Sends whose outcome this process does not know, by counter, in their order. */
export class UncertainSends {
  readonly #now: () => number
  readonly #uncertainSends = new Map<string, UncertainSend>()
  /** Called when there is something to settle. */
  onAdded: () => void = () => {}

  /** @param now milliseconds of a clock that does not go back. */
  constructor (now: () => number) {
    this.#now = now
  }

  get size (): number {
    return this.#uncertainSends.size
  }

  /** The counters with doubts. Those that have left the window are forgotten, since nothing of them counts any more. */
  *quotas (): Generator<Quota> {
    const now = this.#now()
    for (const [key, uncertainSend] of this.#uncertainSends) {
      const { width, slots } = uncertainSend.quota.shape
      uncertainSend.sends = uncertainSend.sends.filter(({ at }) => now - at <= width * (slots + 1))
      if (uncertainSend.sends.length === 0) this.#uncertainSends.delete(key)
      else yield uncertainSend.quota
    }
  }

  /** The doubts of each of these counters, for a send that settles them; undefined where there are none. */
  carriedBy (keys: readonly string[]): readonly (readonly Send[])[] | undefined {
    if (this.#uncertainSends.size === 0 || !keys.some(key => this.#uncertainSends.has(key))) return undefined
    return keys.map(key => [...this.#uncertainSends.get(key)?.sends ?? none])
  }

  /** Forgets what a send carried that Redis executed. */
  settled (keys: readonly string[], carried: readonly (readonly Send[])[]): void {
    for (const [at, key] of keys.entries()) {
      const uncertainSend = this.#uncertainSends.get(key)
      if (uncertainSend === undefined) continue
      const numbers = new Set(carried[at]?.map(({ number }) => number))
      uncertainSend.sends = uncertainSend.sends.filter(({ number }) => !numbers.has(number))
      if (uncertainSend.sends.length === 0) this.#uncertainSends.delete(key)
    }
  }

  /** Notes a send without an answer. One that could not change a counter leaves no doubt. */
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
