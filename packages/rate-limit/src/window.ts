/**
 * The shape of a sliding window: `slots` buckets of `width` milliseconds each. One more bucket is
 * kept, because the window covers the oldest one only in part.
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
 * Counts the requests of one window in a ring of buckets. `consume-script.ts` has the same
 * algorithm in Lua: change both or neither. DECISIONS says why no interval exceeds the limit.
 */
export class SlidingWindow {
  readonly #shape: WindowShape
  readonly #counts: Uint32Array
  #head = 0
  #total = 0
  /** No bucket before this one has a count. */
  #oldest = 0

  constructor (shape: WindowShape) {
    this.#shape = shape
    this.#counts = new Uint32Array(shape.slots + 1)
  }

  /** Moves the window to `now` and returns its time. The time of a window never goes back. */
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

  /**
   * Returns the result of {@link advance} for `now`, if the window has already been moved there.
   */
  instant (now: number): number {
    return Math.max(now, this.#head * this.#shape.width)
  }

  /** Returns the count against the limit at `at`, which {@link advance} returned. */
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

  /** Returns the milliseconds after `at` until `cost` more would fit, if no other request came. */
  waitFor (cost: number, limit: number, at: number, smoothing: boolean): number {
    const { width, slots } = this.#shape
    let excess = this.#total + cost - limit
    let bucket = this.#head
    for (; excess > 0; bucket++) {
      const oldest = this.#count(bucket - slots)
      // The request fits while the oldest bucket is still leaving the window.
      if (smoothing && excess < oldest && excess <= limit * leniency) break
      excess -= oldest
    }
    const part = excess > 0 ? excess / this.#count(bucket - slots) : 0
    return Math.max(1, Math.ceil((bucket + part) * width - at))
  }

  /**
   * Returns the milliseconds after `at` until the oldest counted request has left the window, or 0
   * without one.
   */
  resetAfter (at: number): number {
    if (this.#total === 0) return 0
    const { width, slots } = this.#shape
    // The oldest bucket of the last call is still the oldest unless it has left the window, because
    // older buckets never receive counts.
    let bucket = Math.max(this.#oldest, this.#head - slots)
    while (this.#count(bucket) === 0) bucket++
    this.#oldest = bucket
    return Math.ceil((bucket + slots + 1) * width - at)
  }

  /** Whether the window is empty at `now`, so that it may be dropped. */
  isIdle (now: number): boolean {
    return Math.floor(now / this.#shape.width) > this.#head + this.#shape.slots
  }

  #count (bucket: number): number {
    return bucket < 0 ? 0 : this.#counts[bucket % (this.#shape.slots + 1)]!
  }
}
