import { Redis, type RedisOptions } from 'ioredis'

import type { OwnRedisOptions } from './options.ts'

/** What the caller's options may change. */
const defaults: RedisOptions = {
  connectTimeout: 500
}

/**
 * What they may not. No command waits for a reconnect, and none is sent twice:
 * after a lost connection nobody knows whether a command took effect, and a limiter must not count it twice.
 */
const bounds: RedisOptions = {
  // Ours is raced with every command instead (deadline.ts), and a silence is noticed when one was late: ioredis would set a timer for each.
  commandTimeout: undefined,
  socketTimeout: undefined,
  maxRetriesPerRequest: 0,
  enableOfflineQueue: false,
  autoResendUnfulfilledCommands: false,
  retryStrategy: backOff,
  // After a failover the old master answers READONLY: connect again (1), but do not resend (2).
  reconnectOnError: error => error.message.startsWith('READONLY') ? 1 : false
}

/** Opens a client within the suite's bounds. It keeps trying to connect until it is closed. */
export function openClient (source: string | OwnRedisOptions, name: string): Redis {
  const { url, namespace: _, ...given } = typeof source === 'string' ? { url: source } : source
  const own = { connectionName: name, ...defaults, ...given, ...bounds, replyMapping: 'legacy' as const }
  return withErrorListener(url === undefined ? new Redis(own) : new Redis(url, own))
}

/** ioredis writes to the console, and node ends the process, when nobody listens to a client's errors. Health and logs tell of them. */
export function withErrorListener<T extends { on (event: 'error', listener: () => void): unknown }> (client: T): T {
  client.on('error', () => {})
  return client
}

/** Milliseconds before the next attempt to connect: doubling to one second, with jitter so that processes do not return in step. */
export function backOff (attempt: number): number {
  return Math.round(Math.min(1_000, 50 * 2 ** Math.min(attempt, 10)) * (0.5 + Math.random() / 2))
}
