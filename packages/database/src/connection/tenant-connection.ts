import { DatabaseUnavailableError } from '@fastify-tenancy/postgres'
import { isServerError } from '@fastify-tenancy/postgres/client'
import type pg from 'pg'

import { IsolationBreachError, QueryRefusedError } from '../options/errors.ts'
import { cancelStatement } from './cancel.ts'
import type { ConnectionOwner, Context, Query } from './connection-owner.ts'
import type { ConnectionSettings } from './connection-settings.ts'
import { ConnectionState } from './connection-state.ts'
import { lockoutError, suspectLockout } from './lockout-error.ts'
import { isIdleTimeout, lostError } from './lost-error.ts'
import { assertCommitted, nothing, Openings, type Coming, type Opening } from './openings.ts'
import { PipelinedBatch, UnverifiedRowsError, type BatchEnd, type BatchListener, type Reply, type Tail,
  type UnverifiedRows, type WireStatement } from './pipelined-batch.ts'
import { checkBackend } from './pooler.ts'
import { isFailover } from './read-only.ts'
import { catalogPath, control } from './reset.ts'
import { neverExecuted, markNeverExecuted, stalenessOf } from './retry.ts'
import { RowChunks } from './row-chunks.ts'
import { readAllowed, readStatementText, rowTags } from './statement.ts'
import { StreamClock } from './stream-clock.ts'
import { isForeign, type RowGuard } from './tripwire.ts'

export type { ConnectionOwner, Context, MakeContext, Query } from './connection-owner.ts'

interface Sending extends Coming {
  readonly onChunk: BatchListener['onChunk']
  readonly guard: RowGuard | undefined
  readonly rowMode?: Query['rowMode']
  readonly types?: unknown
}

/** The properties of the driver's own statements. */
const ours: Sending = { isHarmless: true, usesSequences: false, onChunk: undefined, guard: undefined }

/**
 * A connection that is checked out for one owner. Each statement is sent in one batch with the
 * owner's context before it. If the statement could reach traces of other owners, a reset precedes
 * both.
 */
export class TenantConnection {
  readonly #client: pg.PoolClient
  readonly #state: ConnectionState
  readonly #owner: ConnectionOwner
  readonly #settings: ConnectionSettings
  readonly #onReturn: () => void
  readonly #openings: Openings
  #status: BatchEnd['status'] = 'I'
  /**
   * Number of batches that ended. A statement lost in the first batch may never have run, and is
   * then retried on another connection.
   */
  #ends = 0
  #mustDestroy = false
  #isReturned = false
  // Statements of one connection run one after the other, in the order of their calls.
  readonly #queue: (() => void)[] = []
  #running = 0
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
    this.#state.claim()
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
      this.#mustDestroy = true
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
      const opening = this.#openings.savepoint(texts, this.#status)
      opening.statements.push(...texts.map(control))
      this.#assertWell(await this.#send(opening, ours))
    })
  }

  /**
   * Returns the connection to the pool, or destroys it if its last batch did not end cleanly.
   * Idempotent.
   */
  release (): void {
    if (this.#isReturned) return
    this.#isReturned = true
    const isUsable = this.#running === 0 && this.#status === 'I' && !this.#mustDestroy &&
      !this.#state.isDead && !this.#state.servedTooManySchemas
    this.#client.release(!isUsable)
    if (isUsable && !this.#settings.isPooled) this.#state.idle(this.#settings.resetRules)
    this.#onReturn()
  }

  /**
   * Fails the statement in flight and closes the connection, see `BackendStopper`.
   * `timeoutMs` is 0 if the connection no longer answers.
   */
  destroy (timeoutMs: number = this.#owner.deadline): void {
    if (this.#isReturned) return
    this.#isReturned = true
    this.#mustDestroy = true
    this.#settings.stopper.end(this.#client, this.#state, timeoutMs, this.#onReturn)
  }

  async #endTransaction (how: 'commit' | 'rollback'): Promise<void> {
    // Queued behind statements that were not awaited. These ran inside the transaction, or not at
    // all.
    await this.#inOrder(async () => {
      const ending = this.#openings.end(how, this.#status)
      if (ending === undefined) return
      const end = await this.#send(ending, ours)
      this.#assertWell(end)
      if (how === 'commit') assertCommitted(end)
    })
  }

  async #runWithContext (query: Query, chunk = 0, onChunk?: BatchListener['onChunk']): Promise<Reply> {
    const { keyword, name } = readAllowed(query.text, this.#settings.isPooled)
    const isAlone = !this.#openings.isTransaction
    // True if the undo of an earlier statement failed, so that its transaction is still open.
    if (isAlone && this.#status !== 'I') throw markNeverExecuted(new DatabaseUnavailableError())
    let isDelivered = false
    const sending: Omit<Sending, keyof Coming> = {
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
      // The catalog change that failed the first attempt may also have changed what the statement
      // does.
      const isHarmless = query.isHarmless === true && !isAgain
      this.#state.followCatalog(this.#settings.catalogVersion)
      const coming = { isHarmless, usesSequences: !isHarmless || keyword !== 'SELECT' }
      const opening = this.#openings.open(coming, this.#status)
      const { statements } = opening
      const isBegun = this.#status !== 'I' && !this.#openings.isBeginPending
      const context = this.#owner.context?.(this.#state.client, isBegun, chunk > 0)
      const isAnew = opening.drops !== 'nothing'
      if (context !== undefined) statements.push(this.#prepared(context, context.name, 0, isAnew))
      // Without parameters PostgreSQL always makes the generic plan, so a name would save little.
      statements.push(
        this.#prepared(
          query,
          query.values.length > 0 && name !== '' ? this.#keyHere(name) : '',
          chunk,
          isAnew
        )
      )
      const end = await this.#send(opening, { ...sending, ...coming })
      const staleness = stalenessOf(end)
      if (staleness === undefined) {
        this.#openings.hasRun = true
        return this.#accept(end, context)
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
  async #accept (end: BatchEnd, context: Context | undefined): Promise<Reply> {
    if (end.error instanceof UnverifiedRowsError) {
      await this.#verify(end.error.unverified)
      throw new DatabaseUnavailableError(undefined, { cause: end.error })
    }
    this.#assertWell(end)
    const { tag } = end
    if (!rowTags.has(tag)) {
      this.destroy()
      throw new QueryRefusedError(
        `A tenant's handle runs SELECT, INSERT, UPDATE, DELETE and MERGE only, and the server answered ${
          tag || 'nothing'
        }`
      )
    }
    // SELECT … INTO has the command tag SELECT but sends no RowDescription.
    if (tag === 'SELECT' && !end.reply.hasRows) {
      this.destroy()
      throw new QueryRefusedError("A tenant's handle makes no tables, got SELECT … INTO")
    }
    if (end.unverified !== undefined) await this.#verify(end.unverified)
    if (end.contextAnswer != null) context?.onAnswer?.(end.contextAnswer)
    return end.reply
  }

  /** Checks rows of a table that was unknown to the guard, after reading the catalog. */
  async #verify ({ fields, rows }: UnverifiedRows): Promise<void> {
    const { guard } = this.#owner
    if (guard === undefined) return
    try {
      await guard.loadColumns(fields, { query: (text, values) => this.#readCatalog(text, values) })
    } catch (error) {
      this.destroy()
      throw new DatabaseUnavailableError(undefined, { cause: error })
    }
    const positions = guard.tenantColumns(fields)
    // The table may still be unknown, because the transaction's snapshot can be older than the
    // table.
    if (positions === undefined)
      throw new DatabaseUnavailableError(undefined, { cause: new UnverifiedRowsError({ fields, rows }) })
    if (!rows.some(row => isForeign(guard, positions, row))) return
    this.destroy()
    throw new IsolationBreachError()
  }

  // Sets `search_path` first, because the statement before may have left one in which other
  // operators are found first.
  async #readCatalog<R> (
    text: string,
    values: readonly unknown[] = []
  ): Promise<{ rows: R[]; rowCount: number | null }> {
    const query = { text, values, name: '', isParsed: false, chunk: 0 }
    const end = await this.#send({ ...nothing, statements: [catalogPath, query] }, ours)
    this.#assertWell(end)
    return { rows: end.reply.rows as R[], rowCount: end.reply.rowCount }
  }

  // In another schema an unqualified text means other tables, so it is prepared as another
  // statement.
  #keyHere (name: string): string {
    const { schema } = this.#owner
    return schema === undefined ? name : `${name}${readStatementText(schema).name}`
  }

  #prepared ({ text, values }: Query, key: string, chunk: number, isAnew: boolean): WireStatement {
    if (key === '' || this.#settings.isPooled) return { text, values, name: '', isParsed: false, chunk }
    const { names } = this.#state
    const known = isAnew ? undefined : names.find(key, text)
    return { text, values, name: known ?? names.make(), key, isParsed: known !== undefined, chunk }
  }

  #send (
    opening: Opening,
    { isHarmless, usesSequences, onChunk, guard, rowMode, types }: Sending
  ): Promise<BatchEnd> {
    const { drops, isCheck } = opening
    const { tenant, deadline } = this.#owner
    const state = this.#state
    const destroy = (): void => this.destroy(0)
    let isOver = false
    return new Promise<BatchEnd>(resolve => {
      const batch = new PipelinedBatch(opening, { types: types ?? this.#settings.types, rowMode }, {
        takeStatementsToClose: () => state.names.takeStatementsToClose(),
        // Pauses the reply deadline while the application consumes a chunk. It restarts when the
        // next chunk is requested.
        ...(onChunk && {
          onChunk: async (rows: unknown[]) => {
            state.startDeadline(deadline, undefined)
            const isWanted = await onChunk(rows)
            if (!isOver) state.startDeadline(deadline, destroy)
            return isWanted
          }
        }),
        guard,
        onParsed: statement => state.recordParsed(statement),
        enqueue: query => state.enqueue(query),
        onEnd: end => {
          isOver = true
          state.finish()
          this.#ended(end, opening.tail)
          if (opening.dropsSequences && end.error === undefined)
            state.traces.keepSequencesOf(usesSequences ? tenant : undefined)
          if (isCheck && end.isResetError)
            void this.#settings.roleSettings?.pin().catch(() => {}).then(() => resolve(end))
          else resolve(end)
        }
      })
      if (this.#isReturned) throw returned()
      if (state.isDead) throw lostError(state.fatal)
      state.startDeadline(deadline, destroy)
      // Recorded only now. If a value could not be encoded, the batch was never sent, and the next
      // statement still needs the reset.
      if (drops === 'everything') state.reset()
      else if (drops === 'names') state.dropNames()
      if (isCheck) state.isChecked = true
      state.traces.add(tenant, isHarmless, usesSequences)
      this.#openings.isBeginPending = false
      state.send(batch)
    })
  }

  /** Decides from a batch's end whether the connection can be reused. */
  #ended ({ error, status, isResetError, undoAnswer }: BatchEnd, tail: Tail | undefined): void {
    this.#ends++
    this.#status = status
    const isUndone = tail?.undo !== undefined && status !== undefined
    if (isUndone && !checkBackend(this.#openings.backend, undoAnswer, this.#owner.tenant))
      this.#mustDestroy = true
    if (status !== undefined && isServerError(error)) {
      const hasAsked = this.#owner.isReadOnly === true ||
        this.#openings.begun?.includes('read only') === true
      this.#mustDestroy ||= isFailover(error, hasAsked)
    }
    if (error instanceof IsolationBreachError) this.destroy()
    this.#mustDestroy ||= error !== undefined && !(error instanceof UnverifiedRowsError) &&
      (status === undefined || !isServerError(error) || isResetError)
  }

  /** @throws the batch's error, in the form for its caller */
  #assertWell ({ error, status, neverExecuted, isResetError }: BatchEnd): void {
    if (error === undefined) return
    if (isResetError) throw markNeverExecuted(new DatabaseUnavailableError(undefined, { cause: error }))
    if (status !== undefined || isIdleTimeout(error)) throw lockoutError(error) ?? error
    const lost = new DatabaseUnavailableError(undefined, { cause: error })
    if (this.#owner.hasOwnDatabase === true) suspectLockout(lost)
    throw neverExecuted && this.#ends === 1 ? markNeverExecuted(lost) : lost
  }

  async #inOrder<T> (work: () => Promise<T>): Promise<T> {
    if (this.#running++ > 0)
      await new Promise<void>(resolve => {
        this.#queue.push(resolve)
      })
    try {
      if (this.#isReturned) throw returned()
      return await work()
    } catch (error) {
      // The caller retries the statement on another connection, so this one is closed.
      if (neverExecuted(error)) this.#mustDestroy = true
      throw error
    } finally {
      this.#running--
      this.#queue.shift()?.()
    }
  }
}

function returned (): Error {
  return new DatabaseUnavailableError(
    'The connection was returned before this statement ran: await every statement of a transaction'
  )
}
