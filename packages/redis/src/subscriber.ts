import type { Cluster, Redis } from 'ioredis'

import { reconnectDelay, withErrorListener } from './client.ts'
import { withDeadline } from './deadline.ts'
import type { RedisState } from './port.ts'
import { isReply, reasonOf } from './reply.ts'

interface Listener {
  readonly onMessage: (message: string) => void
  readonly onGap: () => void
  /** Ends the wait of `subscribe()`; undefined once it has ended. */
  settle: (() => void) | undefined
}

/** Events that the subscriber reports to its owner. */
interface SubscriberEvents {
  /** Redis refuses a channel that it did not refuse before. */
  readonly refused: (channel: string, error: Error) => void
  /** Redis accepts a channel that it refused before. */
  readonly accepted: (channel: string) => void
}

const heartbeat = 5_000
const heartbeatTimeout = 1_000

/**
 * One connection for all subscriptions of a process, opened at the first one and replaced whenever
 * it ends. It is a duplicate of the client. On a Cluster it connects to any node, because the
 * Cluster's bus carries a message to all.
 */
export class Subscriber {
  readonly #source: Redis | Cluster
  readonly #prefix: string
  readonly #timeoutMs: () => number
  readonly #channels = new Map<string, Set<Listener>>()
  #connection: Redis | undefined
  #retry: NodeJS.Timeout | undefined
  #pulse: NodeJS.Timeout | undefined
  /** Connections since the last reply to SUBSCRIBE. The back-off grows with it. */
  #attempts = 0
  readonly #events: SubscriberEvents
  /** Channels that Redis refuses to this login, with its last reply. */
  readonly #refused = new Map<string, Error>()
  #lastError: unknown
  #isClosed = false

  /** @param timeoutMs returns the milliseconds that a subscriber may still wait. */
  constructor (source: Redis | Cluster, prefix: string, timeoutMs: () => number, events: SubscriberEvents) {
    this.#source = source
    this.#prefix = prefix
    this.#timeoutMs = timeoutMs
    this.#events = events
  }

  /**
   * Whether messages arrive: `'missed'` from the end of a connection until SUBSCRIBE succeeds on
   * the next.
   */
  get state (): RedisState['messages'] {
    if (this.#channels.size === 0) return 'unused'
    return this.#attempts > 0 || this.#refused.size > 0 ? 'missed' : 'ok'
  }

  /** Why messages are missed. */
  get reason (): string {
    const [refusal] = this.#refused.values()
    return reasonOf(refusal ?? this.#lastError)
  }

  /**
   * Implements the port's `subscribe()`. Settles within the time budget. A Redis that is down is
   * retried in the background.
   */
  async subscribe (
    name: string,
    onMessage: (message: string) => void,
    onGap: () => void
  ): Promise<() => Promise<void>> {
    const channel = this.#prefix + name
    const listener: Listener = { onMessage, onGap, settle: undefined }
    const isFirst = !this.#channels.has(channel)
    const listeners = this.#channels.get(channel) ?? new Set()
    this.#channels.set(channel, listeners.add(listener))
    await new Promise<void>(resolve => {
      const settle = (): void => {
        clearTimeout(timer)
        listener.settle = undefined
        resolve()
      }
      const timer = setTimeout(settle, this.#timeoutMs())
      listener.settle = settle
      if (this.#connection === undefined && this.#retry === undefined) this.#open()
      else if (this.#connection?.status !== 'ready') return
      else if (isFirst) void this.#listen(this.#connection, [channel])
      else settle()
    })
    return async () => {
      if (!listeners.delete(listener) || listeners.size > 0) return
      this.#channels.delete(channel)
      this.#refused.delete(channel)
      if (this.#connection?.status === 'ready') await this.#connection.unsubscribe(channel).catch(() => {})
    }
  }

  close (): void {
    this.#isClosed = true
    clearTimeout(this.#retry)
    clearInterval(this.#pulse)
    this.#channels.clear()
    this.#connection?.disconnect()
  }

  #open (): void {
    this.#retry = undefined
    const node = 'nodes' in this.#source ? anyOf(this.#source.nodes('all')) : this.#source
    if (node === undefined) {
      this.#reopen()
      return
    }
    const connection = withErrorListener(node.duplicate({
      connectionName: 'fastify-tenancy:subscriber',
      keyPrefix: '',
      lazyConnect: false,
      readOnly: false,
      enableOfflineQueue: false,
      autoResubscribe: false,
      connectTimeout: 500,
      commandTimeout: heartbeatTimeout,
      maxRetriesPerRequest: 0,
      retryStrategy: () => null
    }))
    this.#connection = connection
    connection.on('error', error => {
      this.#lastError = error
    })
    connection.on('ready', () => {
      void this.#listen(connection, [...this.#channels.keys()])
    })
    connection.on('message', (channel: string, message: string) => {
      for (const listener of this.#channels.get(channel) ?? []) listener.onMessage(message)
    })
    connection.once('end', () => {
      this.#reopen()
    })
    this.#pulse = setInterval(() => {
      this.#beat(connection)
    }, heartbeat).unref()
  }

  /**
   * Sends a separate SUBSCRIBE per channel, because Redis refuses the whole command for one
   * forbidden channel. A refusal keeps the connection, and the next heartbeat tries again: a new
   * connection would have the same permissions.
   */
  async #listen (connection: Redis, channels: readonly string[]): Promise<void> {
    const answers = await Promise.allSettled(channels.map(channel => connection.subscribe(channel)))
    if (this.#connection !== connection) return
    const failed = answers.find(({ status, reason }: { status: string; reason?: unknown }) =>
      status === 'rejected' && !isReply(reason)
    )
    if (failed !== undefined) {
      connection.disconnect()
      return
    }
    this.#attempts = 0
    for (const [at, channel] of channels.entries()) {
      const answer = answers[at]
      if (answer?.status === 'rejected') this.#refuse(channel, answer.reason as Error)
      else this.#accept(channel)
    }
  }

  #refuse (channel: string, error: Error): void {
    const isNew = !this.#refused.has(channel)
    this.#refused.set(channel, error)
    for (const listener of this.#channels.get(channel) ?? []) listener.settle?.()
    if (isNew) this.#events.refused(channel, error)
  }

  #accept (channel: string): void {
    if (this.#refused.delete(channel)) this.#events.accepted(channel)
    for (const { settle, onGap } of this.#channels.get(channel) ?? []) (settle ?? onGap)()
  }

  // Pings, because a dead connection looks like one without messages.
  #beat (connection: Redis): void {
    if (connection.status !== 'ready') return
    withDeadline(connection.ping(), heartbeatTimeout).catch(() => {
      connection.disconnect()
    })
    if (this.#refused.size > 0) void this.#listen(connection, [...this.#refused.keys()])
  }

  #reopen (): void {
    clearInterval(this.#pulse)
    this.#connection = undefined
    if (this.#isClosed) return
    this.#retry = setTimeout(() => {
      this.#open()
    }, reconnectDelay(++this.#attempts))
  }
}

function anyOf<T> (items: readonly T[]): T | undefined {
  return items[Math.floor(Math.random() * items.length)]
}
