import { guardClient, wireClient, type WireClient } from '@fastify-tenancy/postgres/client'
import type pg from 'pg'

import type { BatchEnd, TransactionStatus } from './batch-end.ts'
import { Names } from './names.ts'
import type { PipelinedBatch } from './pipelined-batch.ts'
import { afterDiscard, discardAll, type ResetRules } from './reset.ts'
import { Traces } from './traces.ts'

/** Milliseconds after which an idle connection is reset. */
const idleBeforeReset = 1_000

/**
 * How many tenants' schemas one connection serves before it is replaced. A backend never frees its
 * catalog cache: about 13 kB per table, 127 MB after 1,000 schemas of 10 tables.
 */
const maxSchemas = 200

/*
 * The states of a connection:
 *
 *     opened ──▶ clean ─── a statement that is not proved harmless ───▶ touched
 *                  ▲                                                      │
 *                  └── reset: after one idle second, or before another ───┘
 *                      owner's statement that could reach the traces
 *
 *     clean, touched ─── begin ──▶ in transaction ─── commit, rollback ──▶ clean, touched
 *     clean, touched ─── release ──▶ returned ─── checked out ──▶ clean, touched
 *     any state ─── a case below ──▶ broken (destroyed, never returned to the pool)
 *
 * Broken: the socket ended, no ReadyForQuery, a failed reset or undo, a deadline, a row of another
 * tenant, a failover, or a release in a transaction or while a statement runs. A connection that
 * served too many schemas is also destroyed.
 *
 * {@link ConnectionState.phase} computes the state, and `release` of {@link TenantConnection} reuses
 * a connection only if it is clean or touched.
 */
type ConnectionPhase = 'clean' | 'touched' | 'in transaction' | 'broken' | 'returned'

/**
 * The state of one connection, kept across its owners: the prepared statements, the traces in its
 * session, and the batch in flight. There is one object per client.
 */
export class ConnectionState {
  readonly client: WireClient
  readonly names: Names = new Names()
  readonly traces: Traces = new Traces()
  /** Whether the login's settings were compared with the settings at boot. */
  isChecked = false
  #schemas = new Set<string>()
  #catalogVersion = 0
  /** Whether the pool handed the connection out and no {@link TenantConnection} claimed it yet. */
  #isUnclaimed = false
  /** The TenantConnection that holds the connection. */
  #holder: object | undefined
  #isBroken = false
  /** The status in the last ReadyForQuery; undefined if a batch ended without one. */
  #status: TransactionStatus | undefined = 'I'
  #idleTimer: NodeJS.Timeout | undefined
  /** Whether the batch in flight resets the connection. */
  #isResetting = false
  /** How many batches were sent. */
  #sent = 0
  #isDead = false
  #ignoresTags = false
  #fatal: Error | undefined
  #batch: PipelinedBatch | undefined
  #timer: NodeJS.Timeout | undefined
  #timeoutMs = 0
  #onOverdue: (() => void) | undefined

  /** Returns the state of a client, creating it at the first call. */
  static of (client: pg.ClientBase): ConnectionState {
    const old = sessions.get(client)
    if (old !== undefined) return old
    guardClient(client)
    const state = new ConnectionState(wireClient(client))
    sessions.set(client, state)
    return state
  }

  private constructor (client: WireClient) {
    this.client = client
    // Without an error listener, a backend that dies while its client is checked out ends the
    // process.
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
    // Registered once per connection, because adding and removing them for each batch costs as much
    // as the batch. Prepended, because pg starts the next query from its own ReadyForQuery
    // listener: otherwise the next batch receives this batch's event.
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

  /** Where the connection stands in the diagram above. */
  get phase (): ConnectionPhase {
    if (this.#isBroken || this.#isDead || this.#status === undefined) return 'broken'
    if (this.#holder === undefined) return 'returned'
    if (this.#status !== 'I') return 'in transaction'
    return this.traces.isTouched ? 'touched' : 'clean'
  }

  /** The status in the last ReadyForQuery; undefined if a batch ended without one. */
  get status (): TransactionStatus | undefined {
    return this.#status
  }

  /** Sends a batch. Only one batch may be in flight. */
  send (batch: PipelinedBatch): void {
    this.#sent++
    this.#batch = batch
    batch.send(this.client, this.names.takeStatementsToClose())
  }

  /** Records how the batch in flight ended. */
  finish ({ status, parsed }: BatchEnd): void {
    this.#batch = undefined
    this.#isResetting = false
    this.#onOverdue = undefined
    this.#status = status
    if (parsed !== undefined) {
      for (const { key, name, text } of parsed)
        if (key !== undefined) this.names.markPrepared(key, { name, text })
    }
  }

  /** Whether a batch is in flight. */
  get isBusy (): boolean {
    return this.#batch !== undefined
  }

  /**
   * Fails the batch in flight and ignores the rest of the server's reply.
   *
   * @returns a promise that resolves when the server has sent the whole reply and is idle
   */
  abandon (): Promise<void> {
    const idle = new Promise<void>(resolve => {
      this.client.connection.once('readyForQuery', resolve)
    })
    this.#batch?.abandon()
    return idle
  }

  /**
   * Calls `onOverdue` after `timeoutMs`, unless this method or `finish()` is called earlier. One
   * timer serves all statements.
   */
  startDeadline (timeoutMs: number, onOverdue: (() => void) | undefined): void {
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

  /** The error with which the connection ended while no statement was running. */
  get fatal (): Error | undefined {
    return this.#fatal
  }

  /** Whether this backend has read so many schemas that the connection must be replaced. */
  get servedTooManySchemas (): boolean {
    return this.#schemas.size >= maxSchemas
  }

  /** Records a schema that this connection serves. */
  recordSchema (schema: string): void {
    this.#schemas.add(schema)
  }

  /** Records that the pool handed the connection out. */
  acquired (): void {
    // True if foreign code used it last: another user of a pool that the application passed in, or
    // a look-up.
    if (this.#isUnclaimed) this.traces.addUnknown()
    this.#isUnclaimed = true
  }

  /** Records that `holder` took the connection. It records its own statements. */
  claim (holder: object): void {
    this.leaveClean()
    this.#holder = holder
    this.#status = 'I'
  }

  /** Records that the suite's own queries used the connection. They leave no traces. */
  leaveClean (): void {
    this.#isUnclaimed = false
  }

  isHeldBy (holder: object): boolean {
    return this.#holder === holder
  }

  /** Records that `holder` gave the connection back. */
  giveBack (holder: object): void {
    if (this.#holder === holder) this.#holder = undefined
  }

  /** Makes the connection be destroyed at its return, if `holder` still holds it. */
  break (holder: object): void {
    if (this.#holder === holder) this.#isBroken = true
  }

  /**
   * Ignores changes of `application_name`, which the context makes and the end of the transaction
   * undoes.
   */
  ignoreTags (): void {
    this.#ignoresTags = true
  }

  /** Resets a connection that was returned to its pool after one idle second, if it was touched. */
  idle (rules: ResetRules): void {
    if (!this.traces.isTouched || rules.isImpossible) return
    this.#idleTimer ??= setTimeout(() => {
      void this.#resetIdle(rules)
    }, idleBeforeReset).unref()
    this.#idleTimer.refresh()
  }

  /** Resets the connection immediately, in separate round trips. */
  async resetNow (rules: ResetRules): Promise<void> {
    for (const { text, values } of [discardAll, ...afterDiscard(rules)])
      await this.client.query(text, [...values])
    this.#isUnclaimed = false
    this.reset()
    this.#isResetting = false
  }

  // Otherwise a session lock or a LISTEN would last as long as the pool keeps the connection. If a
  // statement is sent meanwhile, pg queues it behind the reset; the connection is then not recorded
  // as reset.
  async #resetIdle (rules: ResetRules): Promise<void> {
    const sent = this.#sent
    try {
      for (const { text, values } of [discardAll, ...afterDiscard(rules)]) {
        if (this.phase !== 'returned' || this.#isUnclaimed) return
        await this.client.query(text, [...values])
      }
      if (this.#sent === sent) this.reset()
      this.#isResetting = false
    } catch {
      // The next owner's reset fails, too, and that owner's statement runs on another connection.
    }
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
   * Drops the prepared names if the pool noticed a catalog change after they were made. Statements
   * since that change were checked against the old catalog, so the connection counts as touched.
   */
  followCatalog (catalogVersion: number): void {
    if (catalogVersion === this.#catalogVersion) return
    this.#catalogVersion = catalogVersion
    this.names.dropPrepared()
    this.traces.touchIfUsed()
  }

  #onParameterStatus = (message: { parameterName: string }): void => {
    if (followsContext.has(message.parameterName)) return
    if (this.#ignoresTags && message.parameterName === 'application_name') return
    // A reset restores changed settings. After any other change, even the same owner needs a reset.
    if (this.#isResetting) this.traces.touch()
    else this.traces.addUnknown()
  }
}

// Each transaction's context changes these, and the end of the transaction restores them.
const followsContext: ReadonlySet<string> = new Set(['is_superuser', 'session_authorization', 'search_path',
  'in_hot_standby'])

const sessions = new WeakMap<pg.ClientBase, ConnectionState>()
