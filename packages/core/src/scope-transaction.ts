/**
 * The one transaction that all work of a scope is part of: a request whose route says `transaction: true`, or such a run.
 * Whoever has effects outside the database (the cache) makes them wait here, so that nothing of a state
 * that was rolled back is seen by others.
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

  /** Whether something waits for the commit. */
  get hasEffects (): boolean {
    return this.#effects.length > 0
  }

  /** Has the end of the work roll back, whatever it answers. */
  rollbackOnly (): void {
    this.#isRollbackOnly = true
  }

  /** Has `effect` run once the transaction is committed; never, when it is rolled back. */
  afterCommit (effect: () => Promise<unknown>): void {
    this.#effects.push(effect)
  }

  /** Called when the database has committed. Runs the effects in the order they were asked for; a failure is the caller's to log. */
  async committed (): Promise<void> {
    this.#isOpen = false
    for (const effect of this.#effects.splice(0)) await effect()
  }

  /** Called when the database has rolled back, or never began. */
  rolledBack (): void {
    this.#isOpen = false
    this.#effects = []
  }
}
