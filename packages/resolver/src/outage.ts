/**
 * Milliseconds after a failure in which remembered tenants are served without asking the registry.
 */
const restAfterFailure = 1_000

/**
 * Distinguishes an outage of the registry from one unreadable record. One unreadable record that is
 * often requested must not make all other tenants stale. So after a first failure, a record that
 * was readable before is read again, at most once a second.
 */
export class RegistryOutage {
  readonly #now: () => number
  readonly #isConfirmed: () => Promise<boolean>
  /** Time of the last failure that counts as an outage. */
  #failedAt = Number.NEGATIVE_INFINITY
  #askedAt = Number.NEGATIVE_INFINITY
  /** Whether the registry has answered since it failed. */
  isOver = true
  /** Time of the last answer or failure. */
  heardAt: number

  /**
   * @param now milliseconds of a monotonic clock.
   * @param isConfirmed whether a record that was readable before cannot be read either.
   */
  constructor (now: () => number, isConfirmed: () => Promise<boolean>) {
    this.#now = now
    this.#isConfirmed = isConfirmed
    this.heardAt = now()
  }

  get isOn (): boolean {
    return this.#now() - this.#failedAt < restAfterFailure
  }

  /** Called for each answer of the registry. */
  end (): void {
    this.isOver = true
    this.#failedAt = Number.NEGATIVE_INFINITY
    this.heardAt = this.#now()
  }

  /** Called for each failure. */
  suspect (): void {
    const now = this.#now()
    this.heardAt = now
    if (!this.isOver) {
      this.#failedAt = now
    } else if (now - this.#askedAt >= restAfterFailure) {
      this.#askedAt = now
      void this.#confirm()
    }
  }

  async #confirm (): Promise<void> {
    if (!await this.#isConfirmed()) return
    this.isOver = false
    this.#failedAt = this.#now()
  }
}
