import type { Quota } from './quota.ts'
import type { Asked } from './redis-limiter.ts'

/** A send about one counter whose answer was lost, so that Redis may have executed it. */
export interface Send {
  readonly number: number
  /** What it was to add to the counter, as bucket, count, bucket, count, …. */
  readonly corrections: readonly number[]
  readonly at: number
}

interface Doubt {
  readonly quota: Quota
  sends: Send[]
}

const none: Send[] = []
/** Counters with doubts: more would be those of strangers' addresses, whose doubts are dropped. */
const maxCounters = 10_000
/** Doubts of one counter. Of more, the oldest two become one, as if the older had not been executed. */
const maxSends = 32

/** Sends whose outcome this process does not know, by counter, in their order. */
export class Doubts {
  readonly #now: () => number
  readonly #doubts = new Map<string, Doubt>()
  /** Called when there is something to settle. */
  onAdded: () => void = () => {}

  /** @param now milliseconds of a clock that does not go back. */
  constructor (now: () => number) {
    this.#now = now
  }

  get size (): number {
    return this.#doubts.size
  }

  /** The counters with doubts. Those that have left the window are forgotten, since nothing of them counts any more. */
  *quotas (): Generator<Quota> {
    const now = this.#now()
    for (const [key, doubt] of this.#doubts) {
      const { width, slots } = doubt.quota.shape
      doubt.sends = doubt.sends.filter(({ at }) => now - at <= width * (slots + 1))
      if (doubt.sends.length === 0) this.#doubts.delete(key)
      else yield doubt.quota
    }
  }

  /** The doubts of each of these counters, for a send that settles them; undefined where there are none. */
  carriedBy (keys: readonly string[]): readonly (readonly Send[])[] | undefined {
    if (this.#doubts.size === 0 || !keys.some(key => this.#doubts.has(key))) return undefined
    return keys.map(key => [...this.#doubts.get(key)?.sends ?? none])
  }

  /** Forgets what a send carried that Redis executed. */
  settled (keys: readonly string[], carried: readonly (readonly Send[])[]): void {
    for (const [at, key] of keys.entries()) {
      const doubt = this.#doubts.get(key)
      if (doubt === undefined) continue
      const numbers = new Set(carried[at]?.map(({ number }) => number))
      doubt.sends = doubt.sends.filter(({ number }) => !numbers.has(number))
      if (doubt.sends.length === 0) this.#doubts.delete(key)
    }
  }

  /** Notes a send without an answer. One that could not change a counter leaves no doubt. */
  add (
    number: number,
    asked: readonly Asked[],
    carried: readonly (readonly Send[])[] | undefined,
    mayCount: boolean
  ): void {
    for (const [at, { quota, corrections }] of asked.entries()) {
      const before = carried?.[at] ?? none
      if (!mayCount && corrections.length === 0 && before.length === 0) continue
      this.#push(quota, { number, corrections, at: this.#now() })
    }
    if (this.#doubts.size > 0) this.onAdded()
  }

  #push (quota: Quota, send: Send): void {
    const doubt = this.#doubts.get(quota.key)
    if (doubt === undefined) {
      if (this.#doubts.size < maxCounters) this.#doubts.set(quota.key, { quota, sends: [send] })
      return
    }
    doubt.sends = [...doubt.sends, send].toSorted((a, b) => a.number - b.number)
    if (doubt.sends.length <= maxSends) return
    const [oldest, next, ...rest] = doubt.sends as [Send, Send, ...Send[]]
    doubt.sends = [{ ...next, corrections: [...oldest.corrections, ...next.corrections] }, ...rest]
  }
}
