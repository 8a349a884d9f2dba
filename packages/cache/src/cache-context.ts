import type { ResolvedCallOptions } from './call-options.ts'
import { Codec } from './codec.ts'
import type { ResolvedCacheOptions } from './options.ts'
import type { CacheStore, CacheWrite } from './store.ts'

/** The state that all handles of a plugin share. */
export class CacheContext {
  readonly store: CacheStore
  readonly codec: Codec
  readonly now: () => number
  readonly #options: ResolvedCacheOptions

  constructor (store: CacheStore, options: ResolvedCacheOptions, now: () => number = Date.now) {
    this.store = store
    this.codec = new Codec(options.serializer, options.maxEntryBytes)
    this.now = now
    this.#options = options
  }

  /** Returns the lifetime of a counter in milliseconds. */
  ttl (call: ResolvedCallOptions): number {
    return Math.ceil(call.ttl ?? this.#options.ttl)
  }

  /** Returns a value with the times that its call and the options define. */
  entry (payload: string, call: ResolvedCallOptions): CacheWrite {
    const life = (call.ttl ?? this.#options.ttl) * (1 - this.#options.jitter * Math.random())
    const staleAt = call.staleFor === undefined ? Infinity : Math.round(this.now() + life)
    return { payload, ttl: Math.ceil(life + (call.staleFor ?? 0)), staleAt, tags: call.tags }
  }

  /** Handles a failure of the store: returns a miss, or rethrows if `onStoreError` is `'throw'`. */
  orMiss (error: unknown): undefined {
    if (this.#options.onStoreError === 'throw') throw error
  }

  /**
   * Runs work that an outage must not break. Returns undefined instead of an error, unless
   * `onStoreError` is `'throw'`.
   */
  withOutageLog<T> (work: Promise<T>): Promise<T | undefined> {
    return work.catch(error => this.orMiss(error))
  }
}
