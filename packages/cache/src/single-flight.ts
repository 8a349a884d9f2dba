/** One run of work that other callers may await. */
interface Flight<T> {
  readonly result: Promise<T>
  readonly isOrphaned: () => boolean
}

/** Lets concurrent callers of the same work share one run. */
export class SingleFlight<T> {
  readonly #flights = new Map<string, Flight<T>>()

  /**
   * Runs `work`, or awaits the running work of this key.
   *
   * @param isOrphaned whether the caller has gone. If the caller that runs the work has gone, its
   * failure says nothing about the work (its database handle was closed). Another caller then runs
   * the work again.
   */
  async run (key: string, work: () => Promise<T>, isOrphaned: () => boolean): Promise<T> {
    for (;;) {
      const flight = this.#flights.get(key)
      if (flight === undefined) return this.#start(key, work, isOrphaned)
      try {
        return await flight.result
      } catch (error) {
        if (!flight.isOrphaned() || isOrphaned()) throw error
      }
    }
  }

  async #start (key: string, work: () => Promise<T>, isOrphaned: () => boolean): Promise<T> {
    const result = work()
    this.#flights.set(key, { result, isOrphaned })
    try {
      return await result
    } finally {
      this.#flights.delete(key)
    }
  }
}
