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

/** ioredis writes to the console, and node ends the process, when nobody listens to a client's errors. Health and logs tell of them. */
export function withErrorListener<T extends { on(event: 'error', listener: () => void): unknown }> (
  client: T
): T {
  client.on('error', () => {})
  return client
}

/**
 * Decides when a `READONLY` reply replaces the connection. After a failover the old master answers READONLY, so the
 * first one reconnects (1) without resending (2). A server that stays read-only would otherwise cost one reconnect for each write.
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

/** Milliseconds before the next attempt to connect: doubling to one second, with jitter so that processes do not return in step. */
export function reconnectDelay (attempt: number): number {
  return Math.round(Math.min(1_000, 50 * 2 ** Math.min(attempt, 10)) * (0.5 + Math.random() / 2))
}
