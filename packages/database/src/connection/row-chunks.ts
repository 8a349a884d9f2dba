/**
 * Passes chunks of rows from a connection to an async iterator. The next chunk is fetched once the
 * last was consumed.
 */
export class RowChunks implements AsyncIterable<unknown[]> {
  #ready: unknown[][] = []
  #resume: ((isWanted: boolean) => void) | undefined
  #wake: (() => void) | undefined
  #isDone = false
  #isCancelled = false
  #error: unknown

  /** Adds a chunk. Resolves to whether another chunk is wanted. */
  onChunk (rows: unknown[]): Promise<boolean> {
    if (this.#isCancelled) return Promise.resolve(false)
    this.#push(rows)
    return new Promise(resolve => {
      this.#resume = resolve
    })
  }

  finish (rows: unknown[]): void {
    this.#isDone = true
    this.#push(rows)
  }

  fail (error: unknown): void {
    this.#isDone = true
    this.#error = error
    this.#wake?.()
  }

  /** Ends the stream because its consumer stopped iterating. */
  cancel (): void {
    this.#isCancelled = true
    this.#resume?.(false)
  }

  async *[Symbol.asyncIterator] (): AsyncIterator<unknown[]> {
    for (;;) {
      const rows = this.#ready.shift()
      if (rows !== undefined) {
        if (rows.length > 0) yield rows
        this.#resume?.(true)
        this.#resume = undefined
      } else if (this.#isDone) {
        if (this.#error !== undefined) throw this.#error
        return
      } else {
        await new Promise<void>(resolve => {
          this.#wake = resolve
        })
      }
    }
  }

  #push (rows: unknown[]): void {
    this.#ready.push(rows)
    this.#wake?.()
  }
}
