/**
 * A sliding window over requests, cut into buckets: `width` milliseconds each, `slots` of them in the window.
 * One bucket more is kept, the one that the window covers in part.
 */
export interface WindowShape {
  readonly width: number
  readonly slots: number
}

/** `rpm`: 60 s in buckets of one second. */
export const minute: WindowShape = Object.freeze({ width: 1_000, slots: 60 })
/** `burst`: one second in buckets of 100 ms. */
export const second: WindowShape = Object.freeze({ width: 100, slots: 10 })

const leniency = 0.04

/**
 * The requests of one window, counted in a ring of buckets.
 *
 * The oldest bucket lies partly outside the window. Counted whole (`smoothing` off) no real interval of the window's
 * length ever holds more than the limit: all its requests lie in the buckets that were summed when the last of them
 * was admitted. With `smoothing` on, the part that lies outside is left out, as if the bucket's requests were spread
 * evenly; since they need not be, at most 4 % of the limit is, and so no interval ever holds more than 1.04 of it.
 * `redis-limiter.ts` has the same algorithm in Lua: change both or none.
 */
export class SlidingWindow {
  readonly #shape: WindowShape
  readonly #counts: Uint32Array
  #head = 0
  #total = 0
  /** No bucket before this one counts anything. */
  #oldest = 0

  constructor (shape: WindowShape) {
    this.#shape = shape
    this.#counts = new Uint32Array(shape.slots + 1)
  }

  /** Moves the window to `now` and says which instant that is: the clock never goes back for a window. */
  advance (now: number): number {
    const { width, slots } = this.#shape
    const bucket = Math.floor(now / width)
    if (bucket > this.#head) {
      for (let b = Math.max(this.#head + 1, bucket - slots); b <= bucket; b++) {
        this.#total -= this.#count(b)
        this.#counts[b % (slots + 1)] = 0
      }
      this.#head = bucket
    }
    return this.instant(now)
  }

  /** The instant that {@link advance} gave for `now`, when the window was moved there already. */
  instant (now: number): number {
    return Math.max(now, this.#head * this.#shape.width)
  }

  /** What counts against the limit at `at`, which came from {@link advance}. */
  used (at: number, limit: number, smoothing: boolean): number {
    if (!smoothing) return this.#total
    const { width, slots } = this.#shape
    return this.#total -
      Math.min(this.#count(this.#head - slots) * (at / width - this.#head), limit * leniency)
  }

  add (cost: number): void {
    this.#counts[this.#head % (this.#shape.slots + 1)]! += cost
    this.#total += cost
  }

  /** Milliseconds after `at` at which `cost` more would fit, if nothing else came. */
  waitFor (cost: number, limit: number, at: number, smoothing: boolean): number {
    const { width, slots } = this.#shape
    let excess = this.#total + cost - limit
    let bucket = this.#head
    for (; excess > 0; bucket++) {
      const oldest = this.#count(bucket - slots)
      // It fits while the oldest bucket is still leaving.
      if (smoothing && excess < oldest && excess <= limit * leniency) break
      excess -= oldest
    }
    const part = excess > 0 ? excess / this.#count(bucket - slots) : 0
    return Math.max(1, Math.ceil((bucket + part) * width - at))
  }

  /** Milliseconds after `at` at which the oldest counted request has left the window; 0 when none is counted. */
  resetAfter (at: number): number {
    if (this.#total === 0) return 0
    const { width, slots } = this.#shape
    // What was the oldest at the last look is it still, unless it has left: a bucket behind it is never added to.
    let bucket = Math.max(this.#oldest, this.#head - slots)
    while (this.#count(bucket) === 0) bucket++
    this.#oldest = bucket
    return Math.ceil((bucket + slots + 1) * width - at)
  }

  /** Whether nothing can be counted at `now` any more, so that the window may be forgotten. */
  isIdle (now: number): boolean {
    return Math.floor(now / this.#shape.width) > this.#head + this.#shape.slots
  }

  #count (bucket: number): number {
    return bucket < 0 ? 0 : this.#counts[bucket % (this.#shape.slots + 1)]!
  }
}
