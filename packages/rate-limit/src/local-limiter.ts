import { charge, type Quota, type Verdict } from './quota.ts'
import { SlidingWindow } from './window.ts'

/** How many counters of client addresses a process keeps; about 400 bytes each. */
const maxOverflowing = 100_000

/**
 * Counts in this process alone. A counter goes when its window has been empty, never to make room for another:
 * an evicted counter would be a limit forgotten.
 *
 * @param now milliseconds of a clock that does not go back.
 */
export class LocalLimiter {
  readonly #now: () => number
  readonly #maxOverflowing: number
  readonly #windows = new Map<string, { readonly window: SlidingWindow, readonly isOverflowing: boolean }>()
  #overflowing = 0
  #sweep: Iterator<[string, { readonly window: SlidingWindow, readonly isOverflowing: boolean }]> | undefined

  constructor (now: () => number = () => performance.timeOrigin + performance.now(), max: number = maxOverflowing) {
    this.#now = now
    this.#maxOverflowing = max
  }

  /** How many counters are kept. */
  get size (): number {
    return this.#windows.size
  }

  /** Admits a request and counts it against all quotas, or refuses it and counts nothing. */
  take (quotas: readonly Quota[], cost: number, share = 1): Verdict {
    const now = this.#now()
    let wait = 0
    let refusedBy = -1
    for (const [at, quota] of quotas.entries()) {
      const limit = shareOf(quota, share)
      const owed = charge(cost, limit)
      const window = this.#window(quota, now)
      const instant = window.advance(now)
      if (owed === 0 || window.used(instant, limit, quota.smoothing) + owed <= limit) continue
      const needed = window.waitFor(owed, limit, instant, quota.smoothing)
      if (needed > wait) [wait, refusedBy] = [needed, at]
    }
    if (wait === 0) this.#add(quotas, cost, now, share)
    return { wait, refusedBy, ...this.#state(quotas[0], now) }
  }

  /** Counts a request that was admitted elsewhere. */
  record (quotas: readonly Quota[], cost: number): void {
    this.#add(quotas, cost, this.#now(), 1)
  }

  #add (quotas: readonly Quota[], cost: number, now: number, share: number): void {
    if (cost === 0) return
    for (const quota of quotas) {
      const window = this.#window(quota, now)
      window.advance(now)
      window.add(charge(cost, shareOf(quota, share)))
    }
  }

  #state (quota: Quota | undefined, now: number): Pick<Verdict, 'used' | 'reset'> {
    if (quota === undefined) return { used: 0, reset: 0 }
    const window = this.#window(quota, now)
    const instant = window.advance(now)
    return { used: Math.ceil(window.used(instant, quota.limit, quota.smoothing)), reset: window.resetAfter(instant) }
  }

  #window (quota: Quota, now: number): SlidingWindow {
    const found = this.#windows.get(quota.key)
    if (found !== undefined) return found.window
    // Two looks at old counters for each new one keep up with any flood, and cost nothing that adds up.
    this.#sweepTwo(now)
    if (quota.overflow !== undefined && this.#overflowing >= this.#maxOverflowing) {
      return this.#window({ ...quota, key: quota.overflow, overflow: undefined }, now)
    }
    const window = new SlidingWindow(quota.shape)
    const isOverflowing = quota.overflow !== undefined
    this.#windows.set(quota.key, { window, isOverflowing })
    if (isOverflowing) this.#overflowing++
    return window
  }

  #sweepTwo (now: number): void {
    for (let look = 0; look < 2; look++) {
      this.#sweep ??= this.#windows.entries()
      const next = this.#sweep.next()
      if (next.done === true) {
        this.#sweep = undefined
        return
      }
      const [key, { window, isOverflowing }] = next.value
      if (!window.isIdle(now)) continue
      this.#windows.delete(key)
      if (isOverflowing) this.#overflowing--
    }
  }
}

/** One process' part of a limit; never less than one request, so that nobody is shut out. */
function shareOf (quota: Quota, share: number): number {
  return share === 1 ? quota.limit : Math.max(1, Math.floor(quota.limit / share))
}
