import type { ScopeLogger } from '@fastify-tenancy/core'
import { isReply, RedisUnavailableError } from '@fastify-tenancy/redis'

import { isCrossSlot } from './gathered-reads.ts'

/**
 * Says once that Redis cannot be reached, and once that it can again: an outage must not write a line for each request.
 * An error of Redis' own is said once for each kind: its word in capitals.
 */
export class OutageLog {
  readonly #log: ScopeLogger
  #isOn = false
  readonly #kinds = new Set<string>()

  constructor (log: ScopeLogger) {
    this.#log = log
  }

  /**
   * Resolves or rejects as the work does. An error reply of Redis rejects as FST_TENANCY_REDIS_UNAVAILABLE,
   * so that no reply to a client shows its text.
   */
  async watch<T> (work: Promise<T>): Promise<T> {
    try {
      const result = await work
      if (this.#isOn) this.#end()
      return result
    } catch (error) {
      throw this.#told(error)
    }
  }

  /** Logs the error where it is new, and returns the one for the caller. */
  #told (error: unknown): unknown {
    if (isCrossSlot(error)) return error // GatheredReads asks again, tenant by tenant
    const reply = error instanceof RedisUnavailableError ? error.cause : error
    // Redis answers in this case, so the cache is not in an outage that the next good answer would end.
    if (isReply(reply)) this.#tell(reply)
    else if (error instanceof RedisUnavailableError && !this.#isOn) this.#begin(error)
    return isReply(error) ? new RedisUnavailableError(undefined, { cause: error }) : error
  }

  #begin (error: Error): void {
    this.#isOn = true
    this.#log.warn(
      { err: error },
      'the cache cannot reach Redis: until it can, values are loaded anew, and changes that wait for a commit are lost'
    )
  }

  #tell ({ message }: Error): void {
    const [kind = ''] = message.split(' ', 1)
    if (this.#kinds.has(kind)) return
    this.#kinds.add(kind)
    // Only the text: ioredis attaches the command, with keys and values, to the error.
    this.#log.warn(
      { error: message },
      'Redis refuses what the cache asks of it; values are loaded anew, and this is not said again'
    )
  }

  #end (): void {
    this.#isOn = false
    this.#log.info({}, 'the cache reaches Redis again')
  }
}
