import type { RedisScript } from './script.ts'

/**
 * The suite's whole use of Redis. Every call settles within the command timeout, and rejects with
 * FST_TENANCY_REDIS_UNAVAILABLE when Redis is down, frozen or not yet there: no caller ever waits for a reconnect.
 * Nothing is sent twice: a caller who gets an error does not know whether the command took effect.
 *
 * Keys are given whole (core's `tenantKey()` and its like); the client's own `keyPrefix` is put before them and before channels.
 */
export interface TenancyRedis {
  /** The name of the installation that every key and channel carries. Undefined: none does, and plugins refuse it. */
  readonly namespace?: string
  /** Whether a command would be tried now: the client is connected and the breaker is not open. */
  readonly isAvailable: boolean
  /** Whether keys with different hash tags may live on different nodes, of which one may be down. */
  readonly isCluster: boolean
  get(key: string): Promise<string | null>
  mget(keys: readonly string[]): Promise<(string | null)[]>
  /** `SET key value PX ttl`, or without PX when `ttl` is undefined. Milliseconds. */
  set(key: string, value: string, ttl?: number): Promise<void>
  del(...keys: string[]): Promise<number>
  /** `EVALSHA`, and `EVAL` where the server does not know the script: after a restart, a failover or `SCRIPT FLUSH`. */
  run(script: RedisScript, keys: readonly string[], args: readonly (string | number)[]): Promise<unknown>
  /**
   * Removes every key that begins so: `SCAN` over all keys and `UNLINK`. For operators: it takes as long as there are keys.
   *
   * @returns how many there were
   */
  removeAll(prefix: string): Promise<number>
  publish(channel: string, message: string): Promise<void>
  /**
   * Listens on a connection of its own. `onGap` is called whenever messages may have been lost: at every reconnect.
   * Resolves to the function that ends it.
   */
  subscribe(
    channel: string,
    onMessage: (message: string) => void,
    onGap: () => void
  ): Promise<() => Promise<void>>
  /** Waits for the first connection, 2 s at most for all who wait together; never rejects: without Redis the suite starts degraded. */
  ready(): Promise<void>
  health(): RedisHealth
  /** {@link health} with the reason, from what was seen in the last seconds. It asks nothing. */
  state(): RedisState
  /** Ends the connections that the suite opened. A client that was passed in stays open. */
  close(): Promise<void>
}

/** What `health()` tells of Redis. */
export interface RedisHealth {
  readonly status: 'ok' | 'degraded' | 'down'
  readonly breaker: 'closed' | 'half-open' | 'open'
}

/** {@link RedisHealth} and why. */
export interface RedisState extends RedisHealth {
  /**
   * Why the status is not `'ok'`: Redis' own word (`'NOPERM'`, `'WRONGPASS'`, `'NOAUTH'`, `'MOVED'`, `'OOM'`, `'READONLY'`),
   * the code of a socket's error (`'ECONNREFUSED'`), `'timeout'` or `'unreachable'`. Undefined while the status is `'ok'`.
   */
  readonly reason: string | undefined
  /** The connection that receives messages: none was needed yet, it works, or messages may be missed. */
  readonly messages: 'unused' | 'ok' | 'missed'
}
