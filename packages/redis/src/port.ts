import type { RedisScript } from './script.ts'

/**
 * The suite's whole use of Redis. Every call settles within the command timeout. It rejects with
 * FST_TENANCY_REDIS_UNAVAILABLE when Redis is down, frozen or not yet connected, so no caller waits
 * for a reconnect.
 *
 * No command is sent twice. After an error, the caller does not know whether the command took
 * effect.
 *
 * Callers pass complete keys (from core's `tenantKey()` and similar functions). The client's
 * `keyPrefix` is added to keys and channels.
 */
export interface TenancyRedis {
  /**
   * The name of the installation, which is part of every key and channel. Plugins refuse a port
   * without one.
   */
  readonly namespace?: string
  /** Whether a command would be tried now: the client is connected and the breaker is not open. */
  readonly isAvailable: boolean
  /**
   * Whether keys with different hash tags may be on different nodes, so that one of them may be
   * down alone.
   */
  readonly isCluster: boolean
  get(key: string): Promise<string | null>
  mget(keys: readonly string[]): Promise<(string | null)[]>
  /** `SET key value PX ttl`, or without PX if `ttl` is undefined. `ttl` is in milliseconds. */
  set(key: string, value: string, ttl?: number): Promise<void>
  del(...keys: string[]): Promise<number>
  /**
   * `EVALSHA`, or `EVAL` if the server does not know the script (after a restart, a failover or
   * `SCRIPT FLUSH`).
   */
  run(script: RedisScript, keys: readonly string[], args: readonly (string | number)[]): Promise<unknown>
  /**
   * Removes every key with this prefix: `SCAN` over all keys and `UNLINK`. For operators only,
   * because its time grows with the number of keys.
   *
   * @returns how many keys were removed
   */
  removeAll(prefix: string): Promise<number>
  publish(channel: string, message: string): Promise<void>
  /**
   * Subscribes on a separate connection. Calls `onGap` when messages may have been lost, which is
   * at every reconnect. Resolves to the function that unsubscribes.
   */
  subscribe(
    channel: string,
    onMessage: (message: string) => void,
    onGap: () => void
  ): Promise<() => Promise<void>>
  /**
   * Waits for the first connection for up to 2 s in total for all callers. Never rejects, because
   * without Redis the suite starts degraded.
   */
  ready(): Promise<void>
  health(): RedisHealth
  /** {@link health} with the reason, from events of the last seconds. It sends no command. */
  state(): RedisState
  /** Closes the connections that the suite opened. A client that was passed in stays open. */
  close(): Promise<void>
}

/** The state of Redis in `health()`. */
export interface RedisHealth {
  readonly status: 'ok' | 'degraded' | 'down'
  readonly breaker: 'closed' | 'half-open' | 'open'
}

/** {@link RedisHealth} with its reason. */
export interface RedisState extends RedisHealth {
  /**
   * Why the status is not `'ok'`: the first word of Redis' error (`'NOPERM'`, `'WRONGPASS'`,
   * `'NOAUTH'`, `'MOVED'`, `'OOM'`, `'READONLY'`), the code of a socket error (`'ECONNREFUSED'`),
   * `'timeout'` or `'unreachable'`.
   *
   * Undefined while the status is `'ok'`.
   */
  readonly reason: string | undefined
  /**
   * The connection that receives messages: not needed yet, working, or possibly missing messages.
   */
  readonly messages: 'unused' | 'ok' | 'missed'
}
