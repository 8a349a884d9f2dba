import { charge, type Quota, type Decision } from './quota.ts'
import { SlidingWindow } from './window.ts'

const { timeOrigin } = performance
const monotonic = (): number => timeOrigin + performance.now()

/** Counters of client addresses that a process keeps; about 400 bytes each. */
const maxOverflowing = 100_000

/**
 * Counts in this process only. A counter is dropped once its window is empty, never to make room
 * for another, because an evicted counter would be a forgotten limit.
 *
 * @param now milliseconds of a monotonic clock.
 */
export class LocalLimiter {
  readonly #now: () => number
  readonly #maxOverflowing: number
  readonly #windows = new Map<string, { readonly window: SlidingWindow; readonly isOverflowing: boolean }>()
  #overflowing = 0
  #sweep: Iterator<[string, { readonly window: SlidingWindow; readonly isOverflowing: boolean }]> | undefined

  constructor (now: () => number = monotonic, max: number = maxOverflowing) {
    this.#now = now
    this.#maxOverflowing = max
  }

  /** Number of counters kept. */
  get size (): number {
    return this.#windows.size
  }

  /** Admits a request and counts it against all quotas, or refuses it and counts nothing. */
  take (quotas: readonly Quota[], cost: number, share = 1): Decision {
    const now = this.#now()
    const windows: SlidingWindow[] = []
    let wait = 0
    let limitedBy = -1
    // Plain loops, because this runs for every request of the service.
    for (let at = 0; at < quotas.length; at++) {
      const quota = quotas[at]!
      const window = this.#window(quota, now)
      windows.push(window)
      const allowed = shareOf(quota.limit, share)
      const pendingWrite = charge(cost, allowed)
      const instant = window.instant(now)
      if (pendingWrite === 0 || window.used(instant, allowed, quota.smoothing) + pendingWrite <= allowed)
        continue
      const needed = window.waitFor(pendingWrite, allowed, instant, quota.smoothing)
      if (needed > wait) [wait, limitedBy] = [needed, at]
    }
    if (wait === 0 && cost > 0) {
      for (let at = 0; at < windows.length; at++)
        windows[at]!.add(charge(cost, shareOf(quotas[at]!.limit, share)))
    }
    const window = windows[0]
    const quota = quotas[0]
    if (window === undefined || quota === undefined) return { wait, limitedBy, used: 0, reset: 0 }
    const instant = window.instant(now)
    return {
      wait,
      limitedBy,
      used: Math.ceil(window.used(instant, quota.limit, quota.smoothing)),
      reset: window.resetAfter(instant)
    }
  }

  /** Counts a request that was admitted elsewhere. */
  record (quotas: readonly Quota[], cost: number): void {
    if (cost === 0) return
    const now = this.#now()
    for (const quota of quotas) {
      this.#window(quota, now).add(charge(cost, quota.limit))
    }
  }

  /**
   * Returns the counter of a quota, advanced to `now`. A counter that is not advanced would look
   * idle to the sweep and be dropped while in use.
   */
  #window (quota: Quota, now: number): SlidingWindow {
    const found = this.#windows.get(quota.key)
    if (found !== undefined) {
      found.window.advance(now)
      return found.window
    }
    // Checking two old counters per new one keeps up with any flood, at constant cost per request.
    this.#sweepTwo(now)
    if (quota.overflow !== undefined && this.#overflowing >= this.#maxOverflowing) {
      return this.#window({ ...quota, key: quota.overflow, overflow: undefined }, now)
    }
    const window = new SlidingWindow(quota.shape)
    window.advance(now)
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

/** Returns one process's share of a limit. At least one request, so that no tenant is shut out. */
function shareOf (limit: number, share: number): number {
  return share === 1 ? limit : Math.max(1, Math.floor(limit / share))
}
