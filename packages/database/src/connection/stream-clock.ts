/** The maximum delay of a Node.js timer, in milliseconds. */
const longestTimeout = 2 ** 31 - 1

/**
 * Measures how long the server works on a statement whose rows are read in chunks. Calls
 * `onOverdue` once if the sum exceeds `timeout` milliseconds. The application's own time does not
 * count; `statement_timeout` of PostgreSQL would count it.
 */
export class StreamClock {
  readonly #onOverdue: () => void
  #left: number
  #since = 0
  #timer: NodeJS.Timeout | undefined

  /** @param timeout undefined for no limit */
  constructor (timeout: number | undefined, onOverdue: () => void) {
    this.#left = timeout ?? longestTimeout
    this.#onOverdue = onOverdue
  }

  /** Starts the clock, because the server is working. */
  start (): void {
    this.#since = performance.now()
    // A reply may have arrived while this process was busy. Node.js handles it before
    // `setImmediate`.
    this.#timer = setTimeout(() =>
      setImmediate(() => {
        if (this.#timer !== undefined) this.#onOverdue()
      }), this.#left).unref()
  }

  /** Stops the clock, because the server has replied. */
  stop (): void {
    if (this.#timer === undefined) return
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#left = Math.max(1, this.#left - (performance.now() - this.#since))
  }

  /** Returns `work` with the clock stopped while it runs. */
  pausing<T> (work: (rows: unknown[]) => Promise<T>): (rows: unknown[]) => Promise<T> {
    return async rows => {
      this.stop()
      const result = await work(rows)
      this.start()
      return result
    }
  }
}
