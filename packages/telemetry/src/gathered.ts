/** Status classes of requests. */
export const classes: readonly string[] = ['1xx', '2xx', '3xx', '4xx', '5xx']

/**
 * Counts requests until the metrics are requested. A counter of prom-client builds a text of its
 * labels per increment, which costs more than the rest of an event.
 */
export class Gathered {
  readonly #counts = new Map<string, number[]>()

  add (tenant: string, statusCode: number): void {
    let counts = this.#counts.get(tenant)
    if (counts === undefined) this.#counts.set(tenant, counts = [0, 0, 0, 0, 0])
    const at = Math.min(4, Math.max(0, Math.trunc(statusCode / 100) - 1))
    counts[at] = (counts[at] ?? 0) + 1
  }

  delete (tenant: string): void {
    this.#counts.delete(tenant)
  }

  /** Passes on the counts since the last call. */
  flush (inc: (tenant: string, name: string, count: number) => void): void {
    for (const [tenant, counts] of this.#counts) {
      for (const [at, count] of counts.entries()) { if (count > 0) inc(tenant, classes[at] ?? '', count) }
    }
    this.#counts.clear()
  }
}
