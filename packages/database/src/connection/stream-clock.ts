/**
 * Adds up how long the server works on a statement whose rows are read in portions, and calls `onOverdue` once when
 * that exceeds `timeout` milliseconds. The time in which the application works on a portion does not count:
 * PostgreSQL's own `statement_timeout` would go on then.
 */
export class StreamClock {
  readonly #onOverdue: () => void
  #left: number
  #since = 0
  #timer: NodeJS.Timeout | undefined

  constructor (timeout: number, onOverdue: () => void) {
    this.#left = timeout
    this.#onOverdue = onOverdue
  }

  /** The server is at work. */
  start (): void {
    this.#since = performance.now()
    // An answer may have arrived while this process was busy: it is handled before the immediate.
    this.#timer = setTimeout(() => setImmediate(() => { if (this.#timer !== undefined) this.#onOverdue() }), this.#left).unref()
  }

  /** The server has answered. */
  stop (): void {
    if (this.#timer === undefined) return
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#left = Math.max(1, this.#left - (performance.now() - this.#since))
  }
}
