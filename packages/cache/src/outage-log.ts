import type { ScopeLogger } from '@fastify-tenancy/core'
import { isReply, RedisUnavailableError } from '@fastify-tenancy/redis'

import { isCrossSlot } from './gathered-reads.ts'

/**
 * Logs the begin and the end of a Redis outage once each, because an outage must not write a line
 * per request. An error reply of Redis is logged once per kind (its first word).
 */
export class OutageLog {
  readonly #log: ScopeLogger
  #isOn = false
  readonly #kinds = new Set<string>()

  constructor (log: ScopeLogger) {
    this.#log = log
  }

  /**
   * Settles as the work does. An error reply of Redis becomes FST_TENANCY_REDIS_UNAVAILABLE, so
   * that no reply to a client contains its text.
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

  /** Logs the error if it is new, and returns the error for the caller. */
  #told (error: unknown): unknown {
    if (isCrossSlot(error)) return error // GatheredReads retries per tenant
    const reply = error instanceof RedisUnavailableError ? error.cause : error
    // An error reply means that Redis answers. It is not an outage, and the next good reply must
    // not end one.
    if (isReply(reply)) this.#tell(reply)
    else if (error instanceof RedisUnavailableError && !this.#isOn) this.#begin(error)
    return isReply(error) ? new RedisUnavailableError(undefined, { cause: error }) : error
  }

  #begin (error: Error): void {
    this.#isOn = true
    this.#log.warn(
      { err: error },
      'the cache cannot reach Redis: until it can, values are loaded each time and changes that ' +
        'wait for a commit are lost'
    )
  }

  #tell ({ message }: Error): void {
    const [kind = ''] = message.split(' ', 1)
    if (this.#kinds.has(kind)) return
    this.#kinds.add(kind)
    // Logs only the text, because ioredis attaches the command, with keys and values, to the error.
    this.#log.warn(
      { error: message },
      'Redis refuses what the cache asks of it: values are loaded each time, and this is logged once'
    )
  }

  #end (): void {
    this.#isOn = false
    this.#log.info({}, 'the cache reaches Redis again')
  }
}
