import type { Cluster, Redis } from 'ioredis'

import { Breaker } from './breaker.ts'
import { openClient, withErrorListener } from './client.ts'
import { Deadline, withDeadline } from './deadline.ts'
import { RedisUnavailableError } from './errors.ts'
import { isClient, isTenancyRedis, resolveRedisSource, type RedisSource } from './options.ts'
import type { RedisHealth, TenancyRedis } from './port.ts'
import type { RedisScript } from './script.ts'
import { inOneSlot, slotGroups } from './slots.ts'
import { Subscriber } from './subscriber.ts'

/** Milliseconds after which a command is given up, unless the options of an own client say otherwise. */
const defaultTimeout = 100
const readyWithin = 2_000

/**
 * Opens a Redis, or adopts one that is open, within the suite's bounds. Connecting goes on in the background.
 * What was opened here is closed by `close()`; a client that was passed in never is, nor is a port that was passed in:
 * that one is returned as it is and belongs to whoever opened it.
 *
 * @param options.name shown in `CLIENT LIST`. @default 'fastify-tenancy'
 * @throws FST_TENANCY_OPTION_INVALID
 */
export function openRedis (source: RedisSource, options: { readonly name?: string } = {}): TenancyRedis {
  const given = resolveRedisSource(source)
  if (isTenancyRedis(given)) return given
  if (isClient(given)) return new BoundedRedis(withErrorListener(given), false)
  const timeout = typeof given === 'string' ? undefined : given.commandTimeout
  return new BoundedRedis(openClient(given, options.name ?? 'fastify-tenancy'), true, timeout)
}

class BoundedRedis implements TenancyRedis {
  readonly #client: Redis | Cluster
  readonly #isOwn: boolean
  readonly #timeout: number
  readonly #breaker = new Breaker()
  readonly #prefix: string
  readonly #subscriber: Subscriber

  constructor (client: Redis | Cluster, isOwn: boolean, timeout = defaultTimeout) {
    this.#client = client
    this.#isOwn = isOwn
    this.#timeout = timeout
    this.#prefix = client.options.keyPrefix ?? ''
    this.#subscriber = new Subscriber(client, this.#prefix)
    if (client.status === 'wait') client.connect().catch(() => {}) // made with lazyConnect
  }

  get isAvailable (): boolean {
    return this.#client.status === 'ready' && this.#breaker.isPassable
  }

  get (key: string): Promise<string | null> {
    return this.#send(client => client.get(key))
  }

  mget (keys: readonly string[]): Promise<(string | null)[]> {
    if (keys.length === 0) return Promise.resolve([])
    if (!this.#client.isCluster || inOneSlot(keys)) return this.#send(client => client.mget(...keys))
    return this.#mgetOverSlots(keys)
  }

  async set (key: string, value: string, ttl?: number): Promise<void> {
    await this.#send(client => ttl === undefined ? client.set(key, value) : client.set(key, value, 'PX', Math.ceil(ttl)))
  }

  async del (...keys: string[]): Promise<number> {
    if (keys.length === 0) return 0
    const groups = this.#client.isCluster ? slotGroups(keys) : [keys]
    const counts = await Promise.all(groups.map(group => this.#send(client => client.del(...group))))
    return counts.reduce((sum, count) => sum + count, 0)
  }

  async run (script: RedisScript, keys: readonly string[], args: readonly (string | number)[]): Promise<unknown> {
    try {
      return await this.#send(client => client.evalsha(script.sha, keys.length, ...keys, ...args))
    } catch (error) {
      // Nothing ran, so that this second sending cannot take effect twice.
      if (!isReply(error) || !error.message.startsWith('NOSCRIPT')) throw error
      return this.#send(client => client.eval(script.lua, keys.length, ...keys, ...args))
    }
  }

  async publish (channel: string, message: string): Promise<void> {
    await this.#send(client => client.publish(this.#prefix + channel, message))
  }

  subscribe (channel: string, onMessage: (message: string) => void, onGap: () => void): Promise<() => Promise<void>> {
    return this.#subscriber.subscribe(channel, onMessage, onGap)
  }

  ready (): Promise<void> {
    const client = this.#client
    if (client.status === 'ready') return Promise.resolve()
    return new Promise(resolve => {
      const timer = setTimeout(settle, readyWithin)
      function settle (): void {
        clearTimeout(timer)
        client.off('ready', settle)
        resolve()
      }
      client.once('ready', settle)
    })
  }

  health (): RedisHealth {
    const breaker = this.#breaker.state
    const isUp = this.#client.status === 'ready' && breaker !== 'open'
    return { status: !isUp ? 'down' : this.#breaker.isShaken ? 'degraded' : 'ok', breaker }
  }

  async close (): Promise<void> {
    this.#subscriber.close()
    if (!this.#isOwn) return
    if (this.#client.status === 'ready') await withDeadline(this.#client.quit(), this.#timeout).catch(() => {})
    this.#client.disconnect()
  }

  async #mgetOverSlots (keys: readonly string[]): Promise<(string | null)[]> {
    const found = new Map<string, string | null>()
    await Promise.all(slotGroups(keys).map(async group => {
      const values = await this.#send(client => client.mget(...group))
      for (const [at, key] of group.entries()) found.set(key, values[at] ?? null)
    }))
    return keys.map(key => found.get(key) ?? null)
  }

  // One promise and no async function: every command of every request comes through here.
  #send<T> (command: (client: Redis | Cluster) => Promise<T>): Promise<T> {
    // A client with an offline queue would keep the command, and send it when everyone has stopped waiting for it.
    if (this.#client.status !== 'ready' || !this.#breaker.tryPass()) return Promise.reject(new RedisUnavailableError())
    return new Promise((resolve, reject) => {
      const deadline = new Deadline(this.#timeout, error => { reject(this.#failed(error)) })
      command(this.#client).then(
        reply => resolve(this.#answered(reply, deadline)),
        (error: unknown) => { if (deadline.met()) reject(this.#failed(error)) }
      )
    })
  }

  #answered<T> (reply: T, deadline: Deadline): T {
    deadline.met()
    this.#breaker.succeed()
    return reply
  }

  /** What the caller is told of a failure, which the breaker counts unless Redis itself refused the command. */
  #failed (error: unknown): unknown {
    if (isReply(error) && !isOutage(error)) {
      this.#breaker.succeed()
      return error
    }
    this.#breaker.fail()
    return new RedisUnavailableError(undefined, { cause: error })
  }
}

function isReply (error: unknown): error is Error {
  return error instanceof Error && error.name === 'ReplyError'
}

/** Replies that say "not now" instead of "not so". */
function isOutage (error: Error): boolean {
  return /^(?:READONLY|LOADING|CLUSTERDOWN|MASTERDOWN|TRYAGAIN|NOREPLICAS|MISCONF|OOM|BUSY)\b/.test(error.message)
}
