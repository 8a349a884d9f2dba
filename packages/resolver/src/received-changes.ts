import type { TenantChange } from '@fastify-tenancy/core'
import { LRUCache } from 'lru-cache'

import { localKey, localKeys, type LookupKey } from './lookup-key.ts'

/** By how much the clocks of processes may differ, in milliseconds. */
const skew = 2_000

/**
 * When this process has received which changes. A record in Redis that was read from the registry before is older than what the
 * process knows. It may still be there, because a mark could not be written over it, or because Redis has lost the mark.
 */
export class ReceivedChanges {
  readonly #receivedAt: LRUCache<string, number>
  /** The newest of those that had to be dropped: records from before are all suspect. */
  #droppedAt = 0

  /**
   * @param max changed names that are kept.
   * @param life how long a record lives in Redis, in milliseconds.
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

  /** Whether a change may have come after the registry was asked at `readAt`, by the clock of any process. */
  isAfter (readAt: number, lookup: LookupKey): boolean {
    return readAt < Math.max(this.#droppedAt, this.#receivedAt.get(localKey(lookup)) ?? 0) + skew
  }
}
