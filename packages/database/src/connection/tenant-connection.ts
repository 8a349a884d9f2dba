import { DatabaseUnavailableError } from '@fastify-tenancy/postgres'
import type pg from 'pg'

import { UnverifiedRowsError, type BatchEnd, type Reply, type UnverifiedRows } from './batch-end.ts'
import { cancelStatement } from './cancel.ts'
import type { ConnectionOwner, Context, Query } from './connection-owner.ts'
import type { ConnectionSettings } from './connection-settings.ts'
import { ConnectionState } from './connection-state.ts'
import { InOrder } from './in-order.ts'
import { assertCommitted, nothing, Openings, type Coming } from './openings.ts'
import { Preparation } from './prepare.ts'
import { catalogPath, control } from './reset.ts'
import { neverExecuted, markNeverExecuted, stalenessOf } from './retry.ts'
import { RowChunks } from './row-chunks.ts'
import { returnedError, Sending, type Reading } from './send.ts'
import { readAllowed } from './statement.ts'
import { StreamClock } from './stream-clock.ts'
import { failureOf, refusalOf, rowProblem } from './verify.ts'

export type { ConnectionOwner, Context, MakeContext, Query } from './connection-owner.ts'

/** The driver's own statements: they leave no traces, and no guard reads their rows. */
const ownStatement: Coming = { isHarmless: true, usesSequences: false }
const ownReading: Reading = { onChunk: undefined, guard: undefined, rowMode: undefined, types: undefined }

/**
 * A connection that is checked out for one owner. A statement passes three steps:
 *
 * 1. prepare: what precedes it (a reset, `begin`, the owner's context), and its prepared name
 * 2. send: all of that in one batch, and what the batch's end says of the connection
 * 3. verify: the reply's tag and rows, before the caller gets them
 */
export class TenantConnection {
  readonly #client: pg.PoolClient
  readonly #state: ConnectionState
  readonly #owner: ConnectionOwner
  readonly #settings: ConnectionSettings
  readonly #onReturn: () => void
  readonly #openings: Openings
  readonly #preparation: Preparation
  readonly #sending: Sending
  readonly #order = new InOrder()
  #streams = 0

  /** @param onReturn called once, when the connection was returned or destroyed */
  constructor (
    client: pg.PoolClient,
    owner: ConnectionOwner,
    settings: ConnectionSettings,
    onReturn: () => void
  ) {
    this.#client = client
    this.#state = ConnectionState.of(client)
    this.#owner = owner
    this.#onReturn = onReturn
    this.#settings = settings
    this.#openings = new Openings(this.#state, settings, owner.tenant)
    this.#preparation = new Preparation(this.#state, owner, settings, this.#openings)
    this.#sending = new Sending(this, this.#state, owner, settings, this.#openings)
    this.#state.claim(this)
    if (settings.isTagged === true) this.#state.ignoreTags()
    if (owner.schema !== undefined) this.#state.recordSchema(owner.schema)
  }

  get isTransaction (): boolean {
    return this.#openings.isTransaction
  }

  /** Whether rows are being read in chunks. Such a statement does not end by itself. */
  get isStreaming (): boolean {
    return this.#streams > 0
  }

  /** Runs one row statement in the owner's context. */
  run (query: Query): Promise<Reply> {
    return this.#inOrder(() => this.#runWithContext(query))
  }

  /**
   * Like `run`, but yields rows in chunks of `size`. A chunk is fetched when the consumer asks for
   * it.
   */
  async *stream (query: Query, size: number): AsyncIterableIterator<unknown[]> {
    const chunks = new RowChunks()
    const clock = new StreamClock(this.#owner.statementTimeout, () => {
      // A cancel request may arrive late and hit a later statement, so the connection must not be
      // used again.
      this.#state.break(this)
      cancelStatement(this.#state.client)
    })
    this.#streams++
    const end = this.#inOrder(() => {
      clock.start()
      return this.#runWithContext(query, size, clock.pausing(rows => chunks.onChunk(rows)))
    }).finally(() => {
      clock.stop()
      this.#streams--
    })
    end.then(reply => chunks.finish(reply.rows), (error: unknown) => chunks.fail(error))
    try {
      yield* chunks
    } finally {
      chunks.cancel()
      await end.catch(() => {})
    }
  }

  /** Takes over the pending transaction of a connection that was lost before it ran anything. */
  changeOwner (lost: TenantConnection): void {
    const { isTransaction, begun } = lost.#openings
    if (isTransaction && begun !== undefined) this.#openings.begin(begun)
  }

  /** Begins a transaction. `begin` is sent with the next statement, so it costs no round trip. */
  begin (characteristics: string): void {
    this.#openings.begin(`begin${characteristics}`)
  }

  /**
   * @throws Kysely's AbortedTransactionError if the server answered ROLLBACK, because a statement
   * had failed and the application caught its error
   */
  commit (): Promise<void> {
    return this.#endTransaction('commit')
  }

  rollback (): Promise<void> {
    // A destroyed connection has no transaction to roll back. A second error would hide the one
    // that destroyed it.
    return this.#isReturned ? Promise.resolve() : this.#endTransaction('rollback')
  }

  /**
   * Sends `savepoint`, `release savepoint` or `rollback to savepoint`, without the context. In a
   * failed transaction the context would fail, too.
   */
  control (...texts: readonly string[]): Promise<void> {
    return this.#inOrder(async () => {
      const opening = this.#openings.savepoint(texts)
      opening.statements.push(...texts.map(control))
      this.#assertWell(await this.#sending.send(opening, ownStatement, ownReading))
    })
  }

  /**
   * Returns the connection to the pool, or destroys it if its last batch did not end cleanly.
   * Idempotent.
   */
  release (): void {
    if (this.#isReturned) return
    const { phase, servedTooManySchemas } = this.#state
    const isReusable = (phase === 'clean' || phase === 'touched') && !this.#order.isBusy &&
      !servedTooManySchemas
    this.#state.giveBack(this)
    this.#client.release(!isReusable)
    if (isReusable && !this.#settings.isPooled) this.#state.idle(this.#settings.resetRules)
    this.#onReturn()
  }

  /**
   * Fails the statement in flight and closes the connection, see `BackendStopper`.
   * `timeoutMs` is 0 if the connection no longer answers.
   */
  destroy (timeoutMs: number = this.#owner.deadline): void {
    if (this.#isReturned) return
    this.#state.break(this)
    this.#state.giveBack(this)
    this.#settings.stopper.end(this.#client, this.#state, timeoutMs, this.#onReturn)
  }

  get #isReturned (): boolean {
    return !this.#state.isHeldBy(this)
  }

  async #endTransaction (how: 'commit' | 'rollback'): Promise<void> {
    // Queued behind statements that were not awaited. These ran inside the transaction, or not at
    // all.
    await this.#inOrder(async () => {
      const ending = this.#openings.end(how)
      if (ending === undefined) return
      const end = await this.#sending.send(ending, ownStatement, ownReading)
      this.#assertWell(end)
      if (how === 'commit') assertCommitted(end)
    })
  }

  async #runWithContext (query: Query, chunk = 0, onChunk?: Reading['onChunk']): Promise<Reply> {
    const text = readAllowed(query.text, this.#settings.isPooled)
    const isAlone = !this.#openings.isTransaction
    // True if the undo of an earlier statement failed, so that its transaction is still open.
    if (isAlone && this.#state.status !== 'I') throw markNeverExecuted(new DatabaseUnavailableError())
    let isDelivered = false
    const reading: Reading = {
      guard: this.#owner.guard,
      rowMode: query.rowMode,
      types: query.types,
      onChunk: onChunk && (rows => {
        isDelivered = true
        return onChunk(rows)
      })
    }
    for (let isAgain = false;; isAgain = true) {
      const isFirst = isAlone || !this.#openings.hasRun
      const { opening, context, coming } = this.#preparation.of(query, text, chunk, isAgain)
      const end = await this.#sending.send(opening, coming, reading)
      const staleness = stalenessOf(end)
      if (staleness === undefined) {
        this.#openings.hasRun = true
        return this.#verify(end, context)
      }
      this.#state.names.dropPrepared()
      if (staleness === 'changed') await this.#settings.onStale()
      if (!isFirst || isDelivered || isAgain) {
        if (staleness === 'possible') this.#assertWell(end)
        throw new DatabaseUnavailableError(undefined, { cause: end.error })
      }
      // No statement ran yet, so the transaction can begin again. `#beginning` rolls a failed one
      // back first.
      if (!isAlone) this.#openings.isBeginPending = true
    }
  }

  /** Checks how a statement ended and returns its reply. */
  async #verify (end: BatchEnd, context: Context | undefined): Promise<Reply> {
    if (end.error instanceof UnverifiedRowsError) {
      await this.#verifyRows(end.error.unverified)
      throw new DatabaseUnavailableError(undefined, { cause: end.error })
    }
    this.#assertWell(end)
    const refusal = refusalOf(end)
    if (refusal !== undefined) {
      this.destroy()
      throw refusal
    }
    if (end.unverified !== undefined) await this.#verifyRows(end.unverified)
    if (end.contextAnswer != null) context?.onAnswer?.(end.contextAnswer)
    return end.reply
  }

  /** Checks rows of a table that was unknown to the guard, after reading the catalog. */
  async #verifyRows (unverified: UnverifiedRows): Promise<void> {
    const { guard } = this.#owner
    if (guard === undefined) return
    const problem = await rowProblem(unverified, guard, {
      query: (text, values) => this.#readCatalog(text, values)
    })
    if (problem === undefined) return
    if (!(problem.cause instanceof UnverifiedRowsError)) this.destroy()
    throw problem
  }

  // Sets `search_path` first, because the statement before may have left one in which other
  // operators are found first.
  async #readCatalog<R> (
    text: string,
    values: readonly unknown[] = []
  ): Promise<{ rows: R[]; rowCount: number | null }> {
    const query = { text, values, name: '', isParsed: false, chunk: 0 }
    const end = await this.#sending.send(
      { ...nothing, statements: [catalogPath, query] },
      ownStatement,
      ownReading
    )
    this.#assertWell(end)
    return { rows: end.reply.rows as R[], rowCount: end.reply.rowCount }
  }

  /** @throws the batch's error, in the form for its caller */
  #assertWell (end: BatchEnd): void {
    if (end.error === undefined) return
    throw failureOf(end, {
      isFirst: this.#sending.ended === 1,
      hasOwnDatabase: this.#owner.hasOwnDatabase === true
    })
  }

  async #inOrder<T> (work: () => Promise<T>): Promise<T> {
    const before = this.#order.enter()
    if (before !== undefined) await before
    try {
      if (this.#isReturned) throw returnedError()
      return await work()
    } catch (error) {
      // The caller retries the statement on another connection, so this one is closed.
      if (neverExecuted(error)) this.#state.break(this)
      throw error
    } finally {
      this.#order.leave()
    }
  }
}
