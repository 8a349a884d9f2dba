/** One run of a piece of work that others may wait for. */
interface Flight<T> {
  readonly result: Promise<T>
  readonly isOrphaned: () => boolean
}

/** Lets callers that want the same thing at the same time share one run of the work. */
export class SingleFlight<T> {
  readonly #flights = new Map<string, Flight<T>>()

  /**
   * Runs `work`, or waits for the run under `key` that is on its way.
   *
   * @param isOrphaned whether the caller has gone. When the one that runs the work has, its failure says nothing
   * about the work (its database handle was closed under it), and one of the others runs it again.
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
