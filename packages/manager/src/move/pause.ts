import { MoveFailedError } from './errors.ts'

/** The time budget of a move's lockout, which starts with the first call of {@link begin}. */
export class Pause {
  readonly #length: number
  #end: { readonly at: number; readonly signal: AbortSignal } | undefined

  /** @param length in milliseconds */
  constructor (length: number) {
    this.#length = length
  }

  /**
   * Starts the pause at the first call.
   *
   * @returns a signal that aborts when the pause expires
   */
  begin (): AbortSignal {
    return this.#begun().signal
  }

  /** Returns the remaining milliseconds. Starts the pause, too. */
  left (): number {
    return Math.max(this.#begun().at - Date.now(), 0)
  }

  /**
   * Checks that work which took so many milliseconds fits into the pause.
   *
   * @throws FST_TENANCY_MOVE_FAILED if it does not fit
   */
  assertLonger (took: number): void {
    if (took > this.#length) throw this.#tooShort()
  }

  #begun (): { readonly at: number; readonly signal: AbortSignal } {
    if (this.#end !== undefined) return this.#end
    const controller = new AbortController()
    const why = this.#tooShort()
    setTimeout(() => {
      controller.abort(why)
    }, this.#length).unref()
    this.#end = { at: Date.now() + this.#length, signal: controller.signal }
    return this.#end
  }

  #tooShort (): Error {
    return new MoveFailedError(
      `the tenant would have been locked out for more than ${
        this.#length / 1000
      } s: move it when it is less busy, or set a longer pause`
    )
  }
}
