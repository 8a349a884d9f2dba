/** Lets the work of one connection run one after the other, in the order of the calls. */
export class InOrder {
  readonly #waiting: (() => void)[] = []
  #count = 0

  /** Whether work runs or waits. */
  get isBusy (): boolean {
    return this.#count > 0
  }

  /** Returns undefined if the work may run now; otherwise a promise that resolves when it may. */
  enter (): Promise<void> | undefined {
    if (this.#count++ === 0) return undefined
    return new Promise<void>(resolve => {
      this.#waiting.push(resolve)
    })
  }

  /** Ends the work that {@link enter} let in, and lets in the next. */
  leave (): void {
    this.#count--
    this.#waiting.shift()?.()
  }
}
