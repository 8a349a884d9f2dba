import type { Quota, SharedDecision } from './quota.ts'

/**
 * Milliseconds for which a process keeps leased tokens. At most half a window, so that the rest
 * returns before its bucket leaves the window.
 */
const keptFor = 1_000

/** Tokens taken from a counter in Redis in one batch. */
interface Lease {
  left: number
  /** The bucket of the ring in which the whole batch is counted. */
  readonly bucket: number
  readonly limit: number
  readonly until: number
}

/** The state of a counter when its lease was taken, by the clock of this process. */
interface CounterSnapshot {
  used: number
  readonly resetAt: number
}

/**
 * This process's lease of one counter, and the corrections that Redis has yet to receive.
 *
 * Redis counts a lease in the bucket in which it was taken. A token spent later moves to the bucket
 * in which it was spent, and unspent tokens are subtracted. After write-back the ring equals one
 * where every request had asked Redis.
 *
 * Before write-back Redis over-counts and never under-counts, because a lease always expires before
 * its bucket leaves the window.
 */
export class LeasedCounter {
  readonly quota: Quota
  /** Set while a lease is being requested. */
  asking: Promise<void> | undefined
  /**
   * True if the last reply brought no more tokens than the request needed. Waiting for the next
   * reply would then bring none either.
   */
  isScarce = false
  #lease: Lease | undefined
  #snapshot: CounterSnapshot = { used: 0, resetAt: 0 }
  /**
   * The server's clock minus ours. It is never too small, so no request is counted earlier than it
   * happened.
   */
  #ahead: number
  readonly #corrections = new Map<number, number>()

  constructor (quota: Quota, ahead: number) {
    this.quota = quota
    this.#ahead = ahead
  }

  /**
   * Whether a sweep need not write this counter: it has no corrections, or a request that is about
   * to be sent carries them.
   */
  get isBusy (): boolean {
    return this.#lease !== undefined || this.asking !== undefined || this.#corrections.size === 0
  }

  /**
   * Whether there is a lease that covers the charge. A changed limit invalidates the lease, because
   * the batch size depends on the limit.
   */
  covers (pendingWrite: number, limit: number, now: number): boolean {
    const lease = this.#lease
    return lease !== undefined && now < lease.until && lease.limit === limit && pendingWrite <= lease.left
  }

  /** Spends tokens that {@link covers} found. Returns the bucket in which they count. */
  consume (pendingWrite: number, now: number): number {
    const bucket = this.#bucketAt(now)
    this.#move(bucket, pendingWrite)
    return bucket
  }

  /** Returns the tokens that {@link consume} took, for a request that another counter refused. */
  release (bucket: number, pendingWrite: number): void {
    if (this.#lease === undefined) this.correct(bucket, -pendingWrite)
    else this.#move(bucket, -pendingWrite)
  }

  /** Records a change of a bucket's count, to be sent with the next command to Redis. */
  correct (bucket: number, count: number): void {
    const sum = (this.#corrections.get(bucket) ?? 0) + count
    if (sum === 0) this.#corrections.delete(bucket)
    else this.#corrections.set(bucket, sum)
  }

  /** Counts a request that was admitted while Redis could not be asked. */
  addPendingWrite (cost: number, now: number): void {
    this.correct(this.#bucketAt(now), cost)
  }

  /** Stores the reply of Redis to a request that was sent at `sentAt`. */
  open (extra: number, limit: number, { used, reset, now: server }: SharedDecision, sentAt: number): void {
    const { shape } = this.quota
    this.#ahead = server - sentAt
    this.isScarce = extra === 0
    this.#snapshot = { used, resetAt: sentAt + reset }
    if (extra === 0) return
    const until = sentAt + Math.min(keptFor, shape.width * shape.slots / 2)
    this.#lease = { left: extra, bucket: Math.floor(server / shape.width), limit, until }
  }

  /** Returns the state of the counter as far as this process knows. */
  snapshot (now: number): { used: number; reset: number } {
    const { used, resetAt } = this.#snapshot
    return { used, reset: Math.max(0, Math.ceil(resetAt - now)) }
  }

  /** Returns the rest of a lease, if it has expired by `now` or does not cover a request. */
  end (now: number = Number.POSITIVE_INFINITY): void {
    const lease = this.#lease
    if (lease === undefined || now < lease.until) return
    this.#lease = undefined
    if (lease.left > 0) this.correct(lease.bucket, -lease.left)
  }

  /** Whether this counter has no lease, no request in flight and no corrections. */
  isDone (now: number): boolean {
    const oldest = this.#bucketAt(now) - this.quota.shape.slots
    for (const bucket of this.#corrections.keys()) if (bucket < oldest) this.#corrections.delete(bucket)
    return this.#lease === undefined && this.asking === undefined && this.#corrections.size === 0
  }

  /** Returns the corrections for Redis in the format of {@link consumeScript}, and clears them. */
  drain (): number[] {
    const all = [...this.#corrections].flat()
    this.#corrections.clear()
    return all
  }

  /** Moves tokens from the lease's bucket to `bucket`, or back if `count` is negative. */
  #move (bucket: number, count: number): void {
    const lease = this.#lease
    if (lease === undefined) return
    lease.left -= count
    this.#snapshot.used += count
    if (bucket === lease.bucket || count === 0) return
    this.correct(lease.bucket, -count)
    this.correct(bucket, count)
  }

  #bucketAt (now: number): number {
    return Math.floor((now + this.#ahead) / this.quota.shape.width)
  }
}
