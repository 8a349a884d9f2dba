import { MoveFailedError } from './errors.ts'

/** How long a tenant may be without service: counted from the first call of {@link begin}. */
export class Pause {
  readonly #length: number
  #end: { readonly at: number; readonly signal: AbortSignal } | undefined

  /** @param length in milliseconds */
  constructor (length: number) {
    this.#length = length
  }

  /** @returns what is aborted when the pause has been too long */
  begin (): AbortSignal {
    return this.#begun().signal
  }

  /** In milliseconds. */
  left (): number {
    return Math.max(this.#begun().at - Date.now(), 0)
  }

  /** @throws FST_TENANCY_MOVE_FAILED when something that the pause has to hold would take longer, in milliseconds */
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
      `the tenant would have been without service for more than ${
        this.#length / 1000
      } s: move it when it is less busy, or allow a longer pause`
    )
  }
}
