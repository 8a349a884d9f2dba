import type { Cluster, Redis } from 'ioredis'

import { backOff, withErrorListener } from './client.ts'
import { withDeadline } from './deadline.ts'

interface Listener {
  readonly onMessage: (message: string) => void
  readonly onGap: () => void
  /** Called at the first subscription; replaced by {@link onGap} from then on. */
  onSubscribed: () => void
}

const heartbeat = 5_000
const heartbeatTimeout = 1_000

/**
 * One connection for all subscriptions of a process, opened at the first one. It is a duplicate of the client,
 * on a Cluster of any of its nodes (the Cluster's bus carries a message to all), and is replaced whenever it ends.
 */
export class Subscriber {
  readonly #source: Redis | Cluster
  readonly #prefix: string
  readonly #patience: () => number
  readonly #channels = new Map<string, Set<Listener>>()
  #connection: Redis | undefined
  #retry: NodeJS.Timeout | undefined
  #pulse: NodeJS.Timeout | undefined
  #attempts = 0
  #isClosed = false

  /** @param patience milliseconds that a subscriber is willing to wait at present. */
  constructor (source: Redis | Cluster, prefix: string, patience: () => number) {
    this.#source = source
    this.#prefix = prefix
    this.#patience = patience
  }

  /** See the port. Settles within the patience there is; a Redis that is down is tried again in the background. */
  async subscribe (name: string, onMessage: (message: string) => void, onGap: () => void): Promise<() => Promise<void>> {
    const channel = this.#prefix + name
    const listener: Listener = { onMessage, onGap, onSubscribed: onGap }
    const isFirst = !this.#channels.has(channel)
    const listeners = this.#channels.get(channel) ?? new Set()
    this.#channels.set(channel, listeners.add(listener))
    await new Promise<void>(resolve => {
      const settle = (): void => {
        clearTimeout(timer)
        listener.onSubscribed = onGap
        resolve()
      }
      const timer = setTimeout(settle, this.#patience())
      listener.onSubscribed = settle
      if (this.#connection === undefined && this.#retry === undefined) this.#open()
      else if (this.#connection?.status === 'ready') void this.#listen(this.#connection, isFirst ? [channel] : [], [listener])
    })
    return async () => {
      if (!listeners.delete(listener) || listeners.size > 0) return
      this.#channels.delete(channel)
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
    connection.on('ready', () => {
      this.#attempts = 0
      void this.#listen(connection, [...this.#channels.keys()], [...this.#channels.values()].flatMap(listeners => [...listeners]))
    })
    connection.on('message', (channel: string, message: string) => {
      for (const listener of this.#channels.get(channel) ?? []) listener.onMessage(message)
    })
    connection.once('end', () => { this.#reopen() })
    this.#pulse = setInterval(() => { this.#beat(connection) }, heartbeat).unref()
  }

  async #listen (connection: Redis, channels: string[], listeners: Listener[]): Promise<void> {
    try {
      if (channels.length > 0) await connection.subscribe(...channels)
      for (const listener of listeners) listener.onSubscribed()
    } catch {
      connection.disconnect()
    }
  }

  // A connection that died without a word would look like one on which nobody publishes.
  #beat (connection: Redis): void {
    if (connection.status === 'ready') withDeadline(connection.ping(), heartbeatTimeout).catch(() => { connection.disconnect() })
  }

  #reopen (): void {
    clearInterval(this.#pulse)
    this.#connection = undefined
    if (this.#isClosed) return
    this.#retry = setTimeout(() => { this.#open() }, backOff(++this.#attempts))
  }
}

function anyOf<T> (items: readonly T[]): T | undefined {
  return items[Math.floor(Math.random() * items.length)]
}
