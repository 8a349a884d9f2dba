import type { ScopeLogger } from '@fastify-tenancy/core'
import { RedisUnavailableError } from '@fastify-tenancy/redis'

/** Says once that Redis cannot be reached, and once that it can again: an outage must not write a line for each request. */
export class Outage {
  readonly #log: ScopeLogger
  #isOn = false

  constructor (log: ScopeLogger) {
    this.#log = log
  }

  /** Resolves or rejects as the work does. */
  async watch<T> (work: Promise<T>): Promise<T> {
    try {
      const result = await work
      if (this.#isOn) this.#end()
      return result
    } catch (error) {
      if (!this.#isOn && error instanceof RedisUnavailableError) this.#begin(error)
      throw error
    }
  }

  #begin (error: Error): void {
    this.#isOn = true
    this.#log.warn({ err: error }, 'the cache cannot reach Redis: until it can, values are loaded anew, and changes that wait for a commit are lost')
  }

  #end (): void {
    this.#isOn = false
    this.#log.info({}, 'the cache reaches Redis again')
  }
}
