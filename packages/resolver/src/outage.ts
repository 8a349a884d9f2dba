/** For how long after a failure tenants that are remembered are served without asking, in milliseconds. */
const restAfterFailure = 1_000

/**
 * Tells an outage of the registry from a record that cannot be read. One such record, asked for often, would otherwise have all other
 * tenants served from old copies. So after a first failure something that could be read before is read again, once a second at most.
 */
export class RegistryOutage {
  readonly #now: () => number
  readonly #isConfirmed: () => Promise<boolean>
  /** When the last failure was that counts as one of the registry. */
  #failedAt = Number.NEGATIVE_INFINITY
  #askedAt = Number.NEGATIVE_INFINITY
  /** Whether the registry has answered since it failed. */
  isOver = true
  /** When it was last heard of: an answer or a failure. */
  heardAt: number

  /**
   * @param now milliseconds that never go back.
   * @param isConfirmed whether what could be read before cannot be read either.
   */
  constructor (now: () => number, isConfirmed: () => Promise<boolean>) {
    this.#now = now
    this.#isConfirmed = isConfirmed
    this.heardAt = now()
  }

  get isOn (): boolean {
    return this.#now() - this.#failedAt < restAfterFailure
  }

  /** Called with each answer of the registry. */
  end (): void {
    this.isOver = true
    this.#failedAt = Number.NEGATIVE_INFINITY
    this.heardAt = this.#now()
  }

  /** Called with each failure. */
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
