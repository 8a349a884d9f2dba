/**
 * The state of a breaker. Closed: commands pass. Half-open: one probe is running or due. Open:
 * commands are refused.
 */
type BreakerState = 'closed' | 'half-open' | 'open'

/**
 * Stops sending commands to a Redis that does not answer, so that requests in an outage do not wait
 * for timeouts. Five failures in a row open it for a second. Then one command at a time passes as a
 * probe, and its success closes the breaker. (The circuit breaker of M. Nygard, "Release It!".)
 */
export class Breaker {
  readonly #threshold: number
  readonly #openFor: number
  readonly #now: () => number
  #failures = 0
  #probeAt = 0
  #isProbing = false

  constructor (threshold = 5, openFor = 1_000, now: () => number = () => performance.now()) {
    this.#threshold = threshold
    this.#openFor = openFor
    this.#now = now
  }

  get state (): BreakerState {
    if (this.#failures < this.#threshold) return 'closed'
    return this.#isProbing || this.#now() >= this.#probeAt ? 'half-open' : 'open'
  }

  /** Whether a command has failed since the last success. */
  get isShaken (): boolean {
    return this.#failures > 0
  }

  /** Whether {@link tryPass} would let a command through. */
  get isPassable (): boolean {
    return this.#failures < this.#threshold || (!this.#isProbing && this.#now() >= this.#probeAt)
  }

  /**
   * Requests to send one command. If it returns true, {@link succeed} or {@link fail} must follow.
   */
  tryPass (): boolean {
    if (this.#failures < this.#threshold) return true
    if (!this.isPassable) return false
    this.#isProbing = true
    return true
  }

  succeed (): void {
    this.#failures = 0
    this.#isProbing = false
  }

  fail (): void {
    this.#failures++
    this.#isProbing = false
    if (this.#failures >= this.#threshold) this.#probeAt = this.#now() + this.#openFor
  }
}
