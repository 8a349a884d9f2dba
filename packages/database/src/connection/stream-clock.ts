/** The longest that a timer of Node's waits, in milliseconds. */
const longestTimeout = 2 ** 31 - 1

/**
 * Adds up how long the server works on a statement whose rows are read in portions, and calls `onOverdue`
 * once when that exceeds `timeout` milliseconds. The time in which the application works on a portion does
 * not count: PostgreSQL's own `statement_timeout` would go on then.
 */
export class StreamClock {
  readonly #onOverdue: () => void
  #left: number
  #since = 0
  #timer: NodeJS.Timeout | undefined

  /** @param timeout undefined for none */
  constructor (timeout: number | undefined, onOverdue: () => void) {
    this.#left = timeout ?? longestTimeout
    this.#onOverdue = onOverdue
  }

  /** The server is at work. */
  start (): void {
    this.#since = performance.now()
    // An answer may have arrived while this process was busy: it is handled before the immediate.
    this.#timer = setTimeout(() =>
      setImmediate(() => {
        if (this.#timer !== undefined) this.#onOverdue()
      }), this.#left).unref()
  }

  /** The server has answered. */
  stop (): void {
    if (this.#timer === undefined) return
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#left = Math.max(1, this.#left - (performance.now() - this.#since))
  }

  /** `work` on a portion, with the clock stopped meanwhile. */
  pausing<T> (work: (rows: unknown[]) => Promise<T>): (rows: unknown[]) => Promise<T> {
    return async rows => {
      this.stop()
      const result = await work(rows)
      this.start()
      return result
    }
  }
}
