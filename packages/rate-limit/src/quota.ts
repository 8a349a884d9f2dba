import type { WindowShape } from './window.ts'

/** One limit that a request must pass, and the counter that it is held against. */
export interface Quota {
  /** The counter's Redis key; all keys of one request share a hash slot. */
  readonly key: string
  /** The field of the limits file, for the log. */
  readonly name: 'rpm' | 'burst' | 'perClient' | 'route'
  readonly limit: number
  readonly shape: WindowShape
  readonly smoothing: boolean
  /**
   * The counter that takes the rest when too many of this kind are kept in process. Set where strangers choose
   * the key (client addresses): a flood of new ones must neither grow the heap nor evict those that count.
   */
  readonly overflow?: string | undefined
}

/** What a limiter says of one request. */
export interface Decision {
  /** Milliseconds until the same request would be admitted if nothing else came; 0: admitted, and counted. */
  readonly wait: number
  /** Which quota made for the longest wait. */
  readonly limitedBy: number
  /** What the first quota has counted, this request included where it was admitted. */
  readonly used: number
  /** Milliseconds until the oldest request that the first quota counts leaves its window. */
  readonly reset: number
}

/** What a request is charged: one that costs more than the whole limit takes all of it, else it could never pass. */
export function charge (cost: number, limit: number): number {
  return Math.min(cost, limit)
}

/** A verdict of all processes together. */
export interface SharedDecision extends Decision {
  /** How many of those who asked together are admitted; `used` counts them all, `wait` is the others'. */
  readonly admitted: number
  /** The server's clock, in milliseconds. */
  readonly now: number
  /** The tokens that were leased of each counter, beyond the request's own. */
  readonly extras: readonly number[]
}

/** One counter of a request, and what else its process has to say of it. */
export interface PendingConsume {
  readonly quota: Quota
  /** 2 × processes to lease a batch of tokens, 0 for none. */
  readonly leaseDivisor: number
  /** Bucket, count, bucket, count, …: what to add to the counter first. */
  readonly corrections: readonly number[]
}
