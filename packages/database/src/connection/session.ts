import type pg from 'pg'

import type { Batch } from './batch.ts'
import { guardClient } from './guarded-client.ts'
import { wireClient, type WireClient } from './pg-internals.ts'

const maxNames = 200

/**
 * How many tenants' schemas one connection serves before it is replaced: a backend keeps what it has read of every
 * table for good, about 13 kB for each (127 MB after 1,000 schemas of 10 tables).
 */
const maxSchemas = 200

/**
 * What the driver knows of one connection across its borrowers: the statements prepared on it, whether it is still
 * as it was when it was opened, and which batch is on its way.
 */
export class Session {
  readonly client: WireClient
  // Insertion order is order of use: the first is the one to close.
  #names = new Map<string, string>()
  #closing: string[] = []
  #schemas = new Set<string>()
  #isChanged = false
  #isDead = false
  #batch: Batch | undefined
  #timer: NodeJS.Timeout | undefined
  #patience = 0
  #onOverdue: (() => void) | undefined

  /** The session of a client; made once per client. */
  static of (client: pg.ClientBase): Session {
    const old = sessions.get(client)
    if (old !== undefined) return old
    guardClient(client)
    const session = new Session(wireClient(client))
    sessions.set(client, session)
    return session
  }

  private constructor (client: WireClient) {
    this.client = client
    // Without a listener of its own, a backend that dies while its client is checked out ends the process.
    client.on('error', () => { this.#isDead = true })
    client.connection.on('end', () => {
      this.#isDead = true
      clearTimeout(this.#timer)
      this.#batch?.lost()
    })
    client.connection.on('parameterStatus', this.#onParameterStatus)
    // Listened to once for all batches: to come and go with each would cost as much as the rest of it. Before pg itself, which sends
    // the next in line when it hears of ReadyForQuery: that one would be told of it, too.
    client.connection.prependListener('parseComplete', () => { this.#batch?.parsed() })
    client.connection.prependListener('bindComplete', () => { this.#batch?.heard() })
    client.connection.prependListener('readyForQuery', ({ status }: { status: 'I' | 'T' | 'E' }) => { this.#batch?.ready(status) })
  }

  /** Sends a batch; one at a time. */
  send (batch: Batch): void {
    this.#batch = batch
    this.client.query(batch as unknown as pg.Submittable)
  }

  /** The batch that was sent is over. */
  finish (): void {
    this.#batch = undefined
    this.#onOverdue = undefined
  }

  /** Whether a batch is on its way. */
  get isBusy (): boolean {
    return this.#batch !== undefined
  }

  /**
   * Fails the batch that is on its way; what the server still answers to it is dropped.
   *
   * @returns when the server has answered all of it, and is idle.
   */
  abandon (): Promise<void> {
    const idle = new Promise<void>(resolve => { this.client.connection.once('readyForQuery', resolve) })
    this.#batch?.abandon()
    return idle
  }

  /** Calls `onOverdue` in `patience` milliseconds, unless it is told to wait anew or `finish()` comes first. One timer serves all statements. */
  expect (patience: number, onOverdue: (() => void) | undefined): void {
    this.#onOverdue = onOverdue
    if (this.#timer !== undefined && this.#patience === patience) {
      this.#timer.refresh()
      return
    }
    clearTimeout(this.#timer)
    this.#patience = patience
    this.#timer = setTimeout(() => this.#onOverdue?.(), patience).unref()
  }

  get isDead (): boolean {
    return this.#isDead
  }

  /** Whether a statement left a setting of the session changed, as far as the server reports those. */
  get isChanged (): boolean {
    return this.#isChanged
  }

  /** Whether this backend has read so many schemas that it is to be replaced. */
  get isWorn (): boolean {
    return this.#schemas.size >= maxSchemas
  }

  /** Counts a schema that this connection serves. */
  visit (schema: string): void {
    this.#schemas.add(schema)
  }

  /** Whether `text` is prepared under `name`; a use makes it the newest, where one is to be closed soon. */
  knows (name: string, text: string): boolean {
    if (this.#names.get(name) !== text) return false
    if (this.#names.size > maxNames / 2) {
      this.#names.delete(name)
      this.#names.set(name, text)
    }
    return true
  }

  /** Remembers a prepared name, and has the oldest closed where there are too many: each costs the backend memory. */
  learn (name: string, text: string): void {
    this.#names.set(name, text)
    if (this.#names.size <= maxNames) return
    const [oldest] = this.#names.keys()
    if (oldest !== undefined) this.forget(oldest)
  }

  /** Has a name closed with the next batch. */
  forget (name: string): void {
    this.#names.delete(name)
    this.#closing.push(name)
  }

  /** Has every known name and `others` closed with the next batch: the server lost them, or a change of a table spoilt them. */
  forgetAll (others: readonly string[]): void {
    this.#closing.push(...new Set([...this.#names.keys(), ...others].filter(name => name !== '')))
    this.#names.clear()
  }

  /** The names to close, given once. */
  takeClosing (): readonly string[] {
    return this.#closing.splice(0)
  }

  #onParameterStatus = (message: { parameterName: string }): void => {
    if (!followsContext.has(message.parameterName)) this.#isChanged = true
  }
}

// These change with each transaction's context, and with the transaction they are undone.
const followsContext: ReadonlySet<string> = new Set(['is_superuser', 'session_authorization', 'search_path', 'in_hot_standby'])

const sessions = new WeakMap<pg.ClientBase, Session>()
