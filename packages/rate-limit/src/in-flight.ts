/** Counts the requests in flight in this process, by key. */
export class InFlight {
  readonly #counts = new Map<string, number>()

  /**
   * Takes a place and returns an idempotent function that releases it. Returns undefined if all
   * places are taken.
   */
  enter (key: string, max: number): (() => void) | undefined {
    const count = this.#counts.get(key) ?? 0
    if (count >= max) return undefined
    this.#counts.set(key, count + 1)
    let isIn = true
    return () => {
      if (!isIn) return
      isIn = false
      const left = (this.#counts.get(key) ?? 1) - 1
      if (left === 0) this.#counts.delete(key)
      else this.#counts.set(key, left)
    }
  }

  get (key: string): number {
    return this.#counts.get(key) ?? 0
  }
}
