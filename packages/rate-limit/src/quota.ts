import type { WindowShape } from './window.ts'

/** One limit that a request must pass, and its counter. */
export interface Quota {
  /** The counter's Redis key. All keys of one request share a hash slot. */
  readonly key: string
  /** The field of the limits file, for the log. */
  readonly name: 'rpm' | 'burst' | 'perClient' | 'route'
  readonly limit: number
  readonly shape: WindowShape
  readonly smoothing: boolean
  /**
   * The counter that takes over when too many counters of this kind are kept in process. Set for
   * keys that clients can choose (addresses): a flood of new keys must neither grow the heap nor
   * evict counters in use.
   */
  readonly overflow?: string | undefined
}

/** A limiter's decision about one request. */
export interface Decision {
  /**
   * Milliseconds until the same request would be admitted if no other came. 0 means admitted and
   * counted.
   */
  readonly wait: number
  /** Index of the quota with the longest wait, or -1. */
  readonly limitedBy: number
  /** The count of the first quota, including this request if it was admitted. */
  readonly used: number
  /** Milliseconds until the oldest request in the first quota's window leaves it. */
  readonly reset: number
}

/**
 * Returns the tokens that a request takes. A request that costs more than the limit takes the whole
 * limit, or it could never pass.
 */
export function charge (cost: number, limit: number): number {
  return Math.min(cost, limit)
}

/** A decision by Redis, over all processes. */
export interface SharedDecision extends Decision {
  /**
   * How many of the requests that asked together are admitted. `used` includes all of them; `wait`
   * is that of the refused ones.
   */
  readonly admitted: number
  /** The server's clock, in milliseconds. */
  readonly now: number
  /** The tokens leased from each counter, beyond those of the request. */
  readonly extras: readonly number[]
}

/** One counter of a request, with the corrections that this process has to send. */
export interface PendingConsume {
  readonly quota: Quota
  /** 2 × processes to lease a batch of tokens, or 0 for no lease. */
  readonly leaseDivisor: number
  /** Bucket, count, bucket, count, …: the changes to apply to the counter first. */
  readonly corrections: readonly number[]
}
