import type { ParsedJson } from './parsed-json.ts'

/**
 * Where a tenant's values are: Redis, or this process. Both pass one conformance suite.
 *
 * Each tenant has an *epoch*, a random token that every value carries; a value whose token is not the tenant's is not there.
 * A flush is a new token, whatever the number of keys; a lost token loses the values and never brings old ones back.
 * A tag has a token of the same kind. All methods reject when the store cannot be reached.
 */
export interface CacheStore {
  /** What this process knows of a key without asking anyone, where it may be served. Never rejects or throws. */
  peek(tenant: string, key: string): CacheRead | undefined
  /** What is visible under a key. */
  read(tenant: string, key: string): Promise<CacheRead>
  /** What is visible under each key, in the order of the keys. */
  readMany(tenant: string, keys: readonly string[]): Promise<CacheRead[]>
  /** The state before a load begins, tokens made where there are none. See {@link CasToken}. */
  begin(tenant: string, key: string, tags: readonly string[]): Promise<CasToken>
  /**
   * Stores a value. With a stamp only if nothing that the stamp names has changed since: false means that a flush,
   * a delete, a set or an invalidated tag overtook the load, whose value is then too old to be kept.
   */
  write(tenant: string, key: string, value: CacheWrite, casToken?: CasToken): Promise<boolean>
  /** Removes values, and stops loads of them that are under way from storing theirs. Resolves to how many were visible. */
  remove(tenant: string, keys: readonly string[]): Promise<number>
  /** Adds to a whole number, 0 where there is none. The time to live counts from its making. */
  increment(tenant: string, key: string, by: number, ttl: number): Promise<number>
  invalidateTag(tenant: string, tag: string): Promise<void>
  flush(tenant: string): Promise<void>
  /** Takes the right to load a key over all processes for `ttl` milliseconds; undefined while another has it. */
  lock(tenant: string, key: string, ttl: number): Promise<CacheLock | undefined>
}

/** Gives the lock back, if it is still ours. */
export type CacheLock = () => Promise<void>

/** One key's answer. */
export interface CacheRead {
  /** The payload's JSON where this process keeps it; undefined where it was read for this caller alone. */
  readonly kept?: ParsedJson | undefined
  /** The serialized value; undefined for a miss. */
  readonly payload: string | undefined
  /** Milliseconds of the Unix clock from which on only `wrap` may serve the value, while it loads a new one. */
  readonly staleAt: number
  /** Made by `increment`: the payload is a plain number, whatever the serializer. */
  readonly isCounter: boolean
  /** The state of the key at this read, unless the store must be asked with {@link CacheStore.begin}. */
  readonly casToken: CasToken | undefined
}

/** A value to be stored. */
export interface CacheWrite {
  readonly payload: string
  /** Milliseconds, `staleFor` included. */
  readonly ttl: number
  /** Infinity where the value is never served stale. */
  readonly staleAt: number
  readonly tags: readonly string[]
}

/** What a key's value depended on when its load began: the tenant's epoch, the entry itself, and the tokens of its tags. */
export interface CasToken {
  readonly generation: string
  readonly entryVersion: string
  readonly tags: readonly string[]
}

/** The answer for a key that holds nothing. */
export function miss (casToken: CasToken | undefined): CacheRead {
  return { payload: undefined, staleAt: Infinity, isCounter: false, casToken }
}
