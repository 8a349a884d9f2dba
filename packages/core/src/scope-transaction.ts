/**
 * The transaction of a scope: a request or run with `transaction: true`. Effects outside the
 * database (the cache) wait here for the commit, so that other requests never see data that is
 * rolled back.
 */
export class ScopeTransaction {
  #effects: (() => Promise<unknown>)[] = []
  #isOpen = true
  #isRollbackOnly = false

  /** Whether it has neither been committed nor rolled back. */
  get isOpen (): boolean {
    return this.#isOpen
  }

  get isRollbackOnly (): boolean {
    return this.#isRollbackOnly
  }

  /** Whether an effect waits for the commit. */
  get hasEffects (): boolean {
    return this.#effects.length > 0
  }

  /** Makes the end of the work roll back, whatever its result. */
  rollbackOnly (): void {
    this.#isRollbackOnly = true
  }

  /** Runs `effect` after the commit, and never after a rollback. */
  afterCommit (effect: () => Promise<unknown>): void {
    this.#effects.push(effect)
  }

  /**
   * Called when the database has committed. Runs the effects in order. The caller logs a failure.
   */
  async committed (): Promise<void> {
    this.#isOpen = false
    for (const effect of this.#effects.splice(0)) await effect()
  }

  /** Called when the database has rolled back, or when the transaction never began. */
  rolledBack (): void {
    this.#isOpen = false
    this.#effects = []
  }
}
