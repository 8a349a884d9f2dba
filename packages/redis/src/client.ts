import { Redis, type RedisOptions } from 'ioredis'

import type { OwnRedisOptions } from './options.ts'

/** Settings that the caller's options may change. */
const defaults: RedisOptions = {
  connectTimeout: 500
}

/**
 * Settings that the caller's options may not change. No command waits for a reconnect or is sent
 * twice: after a lost connection its effect is unknown, and a limiter must not count twice.
 */
const bounds: RedisOptions = {
  // deadline.ts gives every command a deadline instead, and a late reply starts the check for
  // silence. ioredis would set a timer per command.
  commandTimeout: undefined,
  socketTimeout: undefined,
  maxRetriesPerRequest: 0,
  enableOfflineQueue: false,
  autoResendUnfulfilledCommands: false,
  retryStrategy: reconnectDelay
}

/** Opens a client within the suite's bounds. It keeps trying to connect until it is closed. */
export function openClient (source: string | OwnRedisOptions, name: string): Redis {
  const { url, namespace: _, ...input } = typeof source === 'string' ? { url: source } : source
  const own = {
    connectionName: name,
    ...defaults,
    ...input,
    ...bounds,
    reconnectOnError: onReadOnly(),
    replyMapping: 'legacy' as const
  }
  return withErrorListener(url === undefined ? new Redis(own) : new Redis(url, own))
}

/**
 * Adds a listener for the client's errors. Without one, ioredis writes to the console and Node ends
 * the process. Health and logs report these errors.
 */
export function withErrorListener<T extends { on(event: 'error', listener: () => void): unknown }> (
  client: T
): T {
  client.on('error', () => {})
  return client
}

/**
 * Decides when a `READONLY` reply replaces the connection. After a failover the old master answers
 * READONLY, so the first reply reconnects (1) without resending (2). The pause grows, because a
 * server that stays read-only would otherwise cost one reconnect per write.
 */
function onReadOnly (): (error: Error) => 1 | false {
  let pause = 1_000
  let next = 0
  return error => {
    const now = performance.now()
    if (!error.message.startsWith('READONLY') || now < next) return false
    pause = now - next > 60_000 ? 1_000 : Math.min(30_000, pause * 2)
    next = now + pause
    return 1
  }
}

/**
 * Returns the milliseconds before the next attempt to connect. They double up to one second, with
 * jitter so that processes do not reconnect at the same time.
 */
export function reconnectDelay (attempt: number): number {
  return Math.round(Math.min(1_000, 50 * 2 ** Math.min(attempt, 10)) * (0.5 + Math.random() / 2))
}
