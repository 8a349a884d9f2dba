import type { Quota, SharedDecision } from './quota.ts'

/** Milliseconds for which a process keeps leased tokens; half a window where that is shorter, so that the rest is back in time. */
const keptFor = 1_000

/** Tokens that were taken from a counter in Redis in one batch. */
interface Lease {
  left: number
  /** The bucket of the ring in which all of them are counted. */
  readonly bucket: number
  readonly limit: number
  readonly until: number
}

/** What a counter held when its lease was taken, by the clock of this process. */
interface CounterSnapshot {
  used: number
  readonly resetAt: number
}

/**
 * What one process holds of one counter, and what Redis has yet to be told of it.
 *
 * A lease counts in the bucket in which it was taken, and each token that is spent later moves to the bucket in which
 * it was spent; what is not spent leaves. So the ring ends up as if every request had been asked for, and until it has
 * been told, it counts early and too much, never too little: the lease is younger than the window.
 */
export class LeasedCounter {
  readonly quota: Quota
  /** Set while a lease is being asked for. */
  asking: Promise<void> | undefined
  /** The last answer brought no more than the request needed: waiting for the next would bring nothing either. */
  isScarce = false
  #lease: Lease | undefined
  #snapshot: CounterSnapshot = { used: 0, resetAt: 0 }
  /** The server's clock minus ours; never too small, so that a request is counted no earlier than it was. */
  #ahead: number
  readonly #corrections = new Map<number, number>()

  constructor (quota: Quota, ahead: number) {
    this.quota = quota
    this.#ahead = ahead
  }

  /** Whether there is nothing to tell now: no news, or a question that is about to be asked will bring it. */
  get isBusy (): boolean {
    return this.#lease !== undefined || this.asking !== undefined || this.#corrections.size === 0
  }

  /** Whether there is a lease, and whether it covers `owed`. A changed limit ends it: the next is of the new limit's size. */
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

  /** Takes back what {@link consume} took, for a request that another counter refused. */
  release (bucket: number, pendingWrite: number): void {
    if (this.#lease === undefined) this.correct(bucket, -pendingWrite)
    else this.#move(bucket, -pendingWrite)
  }

  /** Counts tokens out of, or into, a bucket at the next word to Redis. */
  correct (bucket: number, count: number): void {
    const sum = (this.#corrections.get(bucket) ?? 0) + count
    if (sum === 0) this.#corrections.delete(bucket)
    else this.#corrections.set(bucket, sum)
  }

  /** Counts a request that was admitted while Redis could not be asked. */
  addPendingWrite (cost: number, now: number): void {
    this.correct(this.#bucketAt(now), cost)
  }

  /** Takes over what Redis said to a question that was sent at `sentAt`. */
  open (extra: number, limit: number, { used, reset, now: server }: SharedDecision, sentAt: number): void {
    const { shape } = this.quota
    this.#ahead = server - sentAt
    this.isScarce = extra === 0
    this.#snapshot = { used, resetAt: sentAt + reset }
    if (extra === 0) return
    const until = sentAt + Math.min(keptFor, shape.width * shape.slots / 2)
    this.#lease = { left: extra, bucket: Math.floor(server / shape.width), limit, until }
  }

  /** How the counter stands, as far as this process knows. */
  snapshot (now: number): { used: number; reset: number } {
    const { used, resetAt } = this.#snapshot
    return { used, reset: Math.max(0, Math.ceil(resetAt - now)) }
  }

  /** Gives the rest of a lease back, if it has run out by `now`, or is not enough. */
  end (now: number = Number.POSITIVE_INFINITY): void {
    const lease = this.#lease
    if (lease === undefined || now < lease.until) return
    this.#lease = undefined
    if (lease.left > 0) this.correct(lease.bucket, -lease.left)
  }

  /** Whether nothing is left to be done here. */
  isDone (now: number): boolean {
    const oldest = this.#bucketAt(now) - this.quota.shape.slots
    for (const bucket of this.#corrections.keys()) if (bucket < oldest) this.#corrections.delete(bucket)
    return this.#lease === undefined && this.asking === undefined && this.#corrections.size === 0
  }

  /** What Redis is to be told, as {@link takeScript} takes it; from now on it counts as told. */
  drain (): number[] {
    const all = [...this.#corrections].flat()
    this.#corrections.clear()
    return all
  }

  /** From the lease, and the bucket in which it counts, to `bucket`; back, where it is negative. */
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
