import type { ParsedJson } from './parsed-json.ts'

/**
 * The store of tenants' values: Redis or this process. Both pass one conformance suite. All methods
 * reject when the store cannot be reached.
 *
 * Each tenant has a *generation token*, a random text that every value carries. A value with
 * another token does not exist. A flush sets a new token, at constant cost. If a token is lost, its
 * values are lost, and old values never return. A tag has a token of the same kind.
 */
export interface CacheStore {
  /** Returns a value that this process may serve without I/O. Never throws. */
  peek(tenant: string, key: string): CacheRead | undefined
  /** Reads the visible value of a key. */
  read(tenant: string, key: string): Promise<CacheRead>
  /** Reads the visible value of each key, in the order of the keys. */
  readMany(tenant: string, keys: readonly string[]): Promise<CacheRead[]>
  /** Returns the state before a load, and creates missing tokens. See {@link CasToken}. */
  begin(tenant: string, key: string, tags: readonly string[]): Promise<CasToken>
  /**
   * Stores a value. With a token, stores it only if the state in the token still holds. False means
   * that a flush, delete, set or invalidated tag happened during the load, so its value is
   * outdated.
   */
  write(tenant: string, key: string, value: CacheWrite, casToken?: CasToken): Promise<boolean>
  /**
   * Removes values, and prevents running loads from storing them. Resolves to how many were
   * visible.
   */
  remove(tenant: string, keys: readonly string[]): Promise<number>
  /** Adds to a whole number (0 if the key is missing). The lifetime counts from its creation. */
  increment(tenant: string, key: string, by: number, ttl: number): Promise<number>
  invalidateTag(tenant: string, tag: string): Promise<void>
  flush(tenant: string): Promise<void>
  /**
   * Acquires the lock for loading a key over all processes, for `ttl` milliseconds. Undefined while
   * another caller holds it.
   */
  lock(tenant: string, key: string, ttl: number): Promise<CacheLock | undefined>
}

/** Releases the lock if it is still ours. */
export type CacheLock = () => Promise<void>

/** The result of reading one key. */
export interface CacheRead {
  /** The payload's JSON if this process keeps it; undefined if it was read for this caller only. */
  readonly kept?: ParsedJson | undefined
  /** The serialized value; undefined for a miss. */
  readonly payload: string | undefined
  /**
   * Milliseconds of the Unix clock after which only `wrap` may serve the value, while it loads a
   * new one.
   */
  readonly staleAt: number
  /**
   * Whether `increment` created the value. The payload is then a plain number, with any serializer.
   */
  readonly isCounter: boolean
  /**
   * The state of the key at this read; undefined if the store must be asked with {@link
   * CacheStore.begin}.
   */
  readonly casToken: CasToken | undefined
}

/** A value to be stored. */
export interface CacheWrite {
  readonly payload: string
  /** Milliseconds, including `staleFor`. */
  readonly ttl: number
  /** Infinity if the value is never served stale. */
  readonly staleAt: number
  readonly tags: readonly string[]
}

/**
 * The state on which a loaded value depends: the tenant's generation token, the entry, and the
 * tokens of its tags.
 */
export interface CasToken {
  readonly generation: string
  readonly entryVersion: string
  readonly tags: readonly string[]
}

/** Returns the result for a key without a value. */
export function miss (casToken: CasToken | undefined): CacheRead {
  return { payload: undefined, staleAt: Infinity, isCounter: false, casToken }
}
