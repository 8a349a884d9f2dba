import type { TenantChange } from '@fastify-tenancy/core'
import { LRUCache } from 'lru-cache'

import { localKey, localKeys, type LookupKey } from './lookup-key.ts'

/** Allowed difference between the clocks of processes, in milliseconds. */
const skew = 2_000

/**
 * The times at which this process received changes. A record in Redis that was read from the
 * registry before such a time is outdated. It may still exist, because the mark could not be
 * written or because Redis lost the mark.
 */
export class ReceivedChanges {
  readonly #receivedAt: LRUCache<string, number>
  /** The newest dropped time. Records read before it are all treated as outdated. */
  #droppedAt = 0

  /**
   * @param max number of changed names that are kept.
   * @param life lifetime of a record in Redis, in milliseconds.
   */
  constructor (max: number, life: number) {
    this.#receivedAt = new LRUCache({
      max,
      ttl: Math.ceil(life) + skew,
      dispose: (time, _key, reason) => {
        if (reason === 'evict') this.#droppedAt = Math.max(this.#droppedAt, time)
      }
    })
  }

  add (change: TenantChange): void {
    const now = Date.now()
    for (const key of localKeys(change)) this.#receivedAt.set(key, now)
  }

  /**
   * Whether a change may have happened after the registry was asked at `readAt`, by the clock of
   * any process.
   */
  isAfter (readAt: number, lookup: LookupKey): boolean {
    return readAt < Math.max(this.#droppedAt, this.#receivedAt.get(localKey(lookup)) ?? 0) + skew
  }
}
