import type { ScopeLogger } from '@fastify-tenancy/core'
import { RedisUnavailableError } from '@fastify-tenancy/redis'

import { isCrossSlot } from './gathered-reads.ts'

/**
 * Says once that Redis cannot be reached, and once that it can again: an outage must not write a line for each request.
 * An error of Redis' own is said once for each kind: its word in capitals.
 */
export class Outage {
  readonly #log: ScopeLogger
  #isOn = false
  readonly #told = new Set<string>()

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
      if (!(error instanceof RedisUnavailableError)) this.#tell(error)
      else if (!this.#isOn) this.#begin(error)
      throw error
    }
  }

  #begin (error: Error): void {
    this.#isOn = true
    this.#log.warn({ err: error }, 'the cache cannot reach Redis: until it can, values are loaded anew, and changes that wait for a commit are lost')
  }

  #tell (error: unknown): void {
    // Mended where it comes up, and not heard of again.
    if (isCrossSlot(error)) return
    const text = error instanceof Error ? error.message : String(error)
    const [kind = ''] = text.split(' ', 1)
    if (this.#told.has(kind)) return
    this.#told.add(kind)
    // Not the error itself: ioredis hangs the command on it, with keys and values.
    this.#log.warn({ error: text }, 'Redis refuses what the cache asks of it; values are loaded anew, and this is not said again')
  }

  #end (): void {
    this.#isOn = false
    this.#log.info({}, 'the cache reaches Redis again')
  }
}
