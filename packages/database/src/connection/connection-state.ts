import { guardClient, wireClient, type WireClient } from '@fastify-tenancy/postgres/client'
import type pg from 'pg'

import { Names } from './names.ts'
import type { Batch, WireStatement } from './pipelined-batch.ts'
import { afterDiscard, discardAll, type ResetRules } from './reset.ts'
import type { TailQuery } from './tail.ts'
import { Traces } from './traces.ts'

/** Milliseconds after which an idle connection is reset. */
const idleBeforeReset = 1_000

/**
 * How many tenants' schemas one connection serves before it is replaced: a backend keeps what it has read of every
 * table for good, about 13 kB for each (127 MB after 1,000 schemas of 10 tables).
 */
const maxSchemas = 200

/**
 * What the driver knows of one connection across its borrowers: the statements prepared on it, what they may have left
 * in the session, and which batch is on its way.
 */
export class Session {
  readonly client: WireClient
  readonly names: Names = new Names()
  readonly traces: Traces = new Traces()
  /** Whether the settings of the login were compared with those at the boot. */
  isChecked = false
  #schemas = new Set<string>()
  #catalogVersion = 0
  /** Whether the pool handed the connection out and no lease has taken it yet. */
  #isUnclaimed = false
  /** Whether a lease has the connection. */
  #isCheckedOut = false
  #idleTimer: NodeJS.Timeout | undefined
  /** Whether the batch on its way resets the connection. */
  #isResetting = false
  /** How many batches were sent. */
  #sent = 0
  #isDead = false
  #ignoresTags = false
  #fatal: Error | undefined
  #batch: Batch | undefined
  #timer: NodeJS.Timeout | undefined
  #timeoutMs = 0
  #onOverdue: (() => void) | undefined

  /** The session of a client; made once per client. */
  static of (client: pg.ClientBase): Session {
    const old = sessions.get(client)
    if (old !== undefined) return old
    guardClient(client)
    const state = new Session(wireClient(client))
    sessions.set(client, state)
    return state
  }

  private constructor (client: WireClient) {
    this.client = client
    // Without a listener of its own, a backend that dies while its client is checked out ends the process.
    client.on('error', (error: Error) => {
      this.#isDead = true
      this.#fatal ??= error
    })
    client.connection.on('end', () => {
      this.#isDead = true
      clearTimeout(this.#timer)
      clearTimeout(this.#idleTimer)
      this.#batch?.lost()
    })
    client.connection.on('parameterStatus', this.#onParameterStatus)
    // Registered once per connection, because adding and removing them for each batch costs as much as the batch.
    // Prepended, because pg starts the next query from its own ReadyForQuery listener: otherwise the next batch
    // receives this batch's event.
    client.connection.prependListener('parseComplete', () => {
      this.#batch?.parsed()
    })
    client.connection.prependListener('bindComplete', () => {
      this.#batch?.bound()
    })
    client.connection.prependListener('readyForQuery', ({ status }: { status: 'I' | 'T' | 'E' }) => {
      this.#batch?.ready(status)
    })
  }

  /** Sends a batch; one at a time. */
  send (batch: Batch): void {
    this.#sent++
    this.#batch = batch
    this.client.query(batch as unknown as pg.Submittable)
  }

  /** Makes a query the active one after the batch: its text was written with the batch. */
  enqueue (query: TailQuery): void {
    this.client.query(query as unknown as pg.Submittable)
  }

  /** The batch that was sent is over. */
  finish (): void {
    this.#batch = undefined
    this.#isResetting = false
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
    const idle = new Promise<void>(resolve => {
      this.client.connection.once('readyForQuery', resolve)
    })
    this.#batch?.abandon()
    return idle
  }

  /** Calls `onOverdue` in `patience` milliseconds, unless it is told to wait anew or `finish()` comes first. One timer serves all statements. */
  expect (timeoutMs: number, onOverdue: (() => void) | undefined): void {
    this.#onOverdue = onOverdue
    if (this.#timer !== undefined && this.#timeoutMs === timeoutMs) {
      this.#timer.refresh()
      return
    }
    clearTimeout(this.#timer)
    this.#timeoutMs = timeoutMs
    this.#timer = setTimeout(() => this.#onOverdue?.(), timeoutMs).unref()
  }

  get isDead (): boolean {
    return this.#isDead
  }

  /** What the connection ended with, while no statement was under way. */
  get fatal (): Error | undefined {
    return this.#fatal
  }

  /** Whether this backend has read so many schemas that it is to be replaced. */
  get servedTooManySchemas (): boolean {
    return this.#schemas.size >= maxSchemas
  }

  /** Counts a schema that this connection serves. */
  visit (schema: string): void {
    this.#schemas.add(schema)
  }

  /** Records that the pool handed the connection out. */
  acquired (): void {
    // Code that is not ours had it last: another user of a pool that the application passed in, or a look-up.
    if (this.#isUnclaimed) this.traces.addUnknown()
    this.#isUnclaimed = true
  }

  /** Records that a lease took the connection, which records its own statements. */
  claim (): void {
    this.#isUnclaimed = false
    this.#isCheckedOut = true
  }

  /** Takes a change of `application_name` for the context's from now on: the end of the transaction undoes it. */
  ignoreTags (): void {
    this.#ignoresTags = true
  }

  /** Records that the lease gave the connection back to its pool, where a reset runs once it has been idle for a while. */
  idle (rules: ResetRules): void {
    this.#isCheckedOut = false
    if (!this.traces.isTouched || rules.isImpossible) return
    this.#idleTimer ??= setTimeout(() => {
      void this.#resetIdle(rules)
    }, idleBeforeReset).unref()
    this.#idleTimer.refresh()
  }

  /** Resets the connection at once, in waits of its own. */
  async resetNow (rules: ResetRules): Promise<void> {
    for (const { text, values } of [discardAll, ...afterDiscard(rules)])
      await this.client.query(text, [...values])
    this.#isUnclaimed = false
    this.reset()
    this.#isResetting = false
  }

  // A session lock or a LISTEN must not last as long as the pool keeps the connection. If a statement comes meanwhile, pg
  // sends it behind the reset; then this reset counts for nothing.
  async #resetIdle (rules: ResetRules): Promise<void> {
    const sent = this.#sent
    try {
      for (const { text, values } of [discardAll, ...afterDiscard(rules)]) {
        if (this.#isCheckedOut || this.#isUnclaimed || this.#isDead) return
        await this.client.query(text, [...values])
      }
      if (this.#sent === sent) this.reset()
      this.#isResetting = false
    } catch {
      // The next owner's reset fails as well, and its statement runs on another connection.
    }
  }

  /** Records that the server parsed a statement. */
  learn ({ key, name, text }: WireStatement): void {
    if (key !== undefined) this.names.markPrepared(key, { name, text })
  }

  /** Records that the batch about to be sent resets the connection. */
  reset (): void {
    this.#isResetting = true
    this.traces.clear()
    this.dropNames()
  }

  /** Records that the batch about to be sent drops every prepared statement. */
  dropNames (): void {
    this.names.dropped()
    this.client.connection.parsedStatements = {}
  }

  /**
   * Forgets the prepared names if the pool learned of a change of the catalog since they were made. What ran between the
   * change and now was judged by the catalog before it.
   */
  follow (catalogVersion: number): void {
    if (catalogVersion === this.#catalogVersion) return
    this.#catalogVersion = catalogVersion
    this.names.dropPrepared()
    this.traces.doubt()
  }

  #onParameterStatus = (message: { parameterName: string }): void => {
    if (followsContext.has(message.parameterName)) return
    if (this.#ignoresTags && message.parameterName === 'application_name') return
    // A reset brings a changed setting back. Any other change is undone even before the owner's own next statement.
    if (this.#isResetting) this.traces.touch()
    else this.traces.addUnknown()
  }
}

// These change with each transaction's context, and its end undoes them.
const followsContext: ReadonlySet<string> = new Set(['is_superuser', 'session_authorization', 'search_path',
  'in_hot_standby'])

const sessions = new WeakMap<pg.ClientBase, Session>()
