import { DatabaseUnavailableError } from '@fastify-tenancy/postgres'
import { isServerError } from '@fastify-tenancy/postgres/client'
import type pg from 'pg'

import { IsolationBreachError, QueryRefusedError } from '../options/errors.ts'
import { cancelStatement } from './cancel.ts'
import type { ConnectionOwner, Context, Query } from './connection-owner.ts'
import type { ConnectionSettings } from './connection-settings.ts'
import { Session } from './connection-state.ts'
import { lockoutError } from './lockout-error.ts'
import { isIdleTimeout, lostError } from './lost-error.ts'
import { assertCommitted, nothing, Openings, type Coming, type Opening } from './openings.ts'
import { Batch, UnverifiedRowsError, type BatchEnd, type BatchListener, type Reply, type Tail,
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

/** For statements of the driver's own. */
const ours: Sending = { isHarmless: true, usesSequences: false, onChunk: undefined, guard: undefined }

/**
 * One connection, borrowed for one owner. Every statement goes out with the owner's context before it, in one batch.
 * If other owners left traces on the connection which the statement could reach, a reset goes before both.
 */
export class TenantConnection {
  readonly #client: pg.PoolClient
  readonly #state: Session
  readonly #owner: ConnectionOwner
  readonly #settings: ConnectionSettings
  readonly #onReturn: () => void
  readonly #openings: Openings
  #status: BatchEnd['status'] = 'I'
  /** How many batches have ended. A statement lost in the first may not have run, and then may run on another connection. */
  #ends = 0
  #mustDestroy = false
  #isReturned = false
  // Statements of one connection run one after the other, in the order they were asked for.
  readonly #queue: (() => void)[] = []
  #running = 0
  #streams = 0

  /** @param onReturn called once, when the connection is back or destroyed. */
  constructor (
    client: pg.PoolClient,
    owner: ConnectionOwner,
    settings: ConnectionSettings,
    onReturn: () => void
  ) {
    this.#client = client
    this.#state = Session.of(client)
    this.#owner = owner
    this.#onReturn = onReturn
    this.#settings = settings
    this.#openings = new Openings(this.#state, settings, owner.tenant)
    this.#state.claim()
    if (owner.schema !== undefined) this.#state.visit(owner.schema)
  }

  get isTransaction (): boolean {
    return this.#openings.isTransaction
  }

  /** Whether rows are being read in portions: such a statement does not end by itself. */
  get isStreaming (): boolean {
    return this.#streams > 0
  }

  /** Runs one row statement within the owner's context. */
  run (query: Query): Promise<Reply> {
    return this.#inOrder(() => this.#runWithContext(query))
  }

  /** Like `run`, with rows in portions of `size`, read as they are asked for. */
  async *stream (query: Query, size: number): AsyncIterableIterator<unknown[]> {
    const chunks = new RowChunks()
    const clock = new StreamClock(this.#owner.statementTimeout, () => {
      // A request to cancel may arrive late, so the connection is not used again.
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

  /** Takes the place of a lease whose connection did not run anything of its transaction. */
  changeOwner (lost: TenantConnection): void {
    const { isTransaction, begun } = lost.#openings
    if (isTransaction && begun !== undefined) this.#openings.begin(begun)
  }

  /** Begins a transaction with the next statement, so that it costs no wait of its own. */
  begin (characteristics: string): void {
    this.#openings.begin(`begin${characteristics}`)
  }

  /** @throws Kysely's AbortedTransactionError when the server answered ROLLBACK: a statement had failed, and its error was caught. */
  commit (): Promise<void> {
    return this.#endTransaction('commit')
  }

  rollback (): Promise<void> {
    // A destroyed connection has nothing left to roll back, and the error that destroyed it is the one to tell.
    return this.#isReturned ? Promise.resolve() : this.#endTransaction('rollback')
  }

  /** Sends `savepoint`, `release savepoint` or `rollback to savepoint`. No context: in a failed transaction it would fail too. */
  control (...texts: readonly string[]): Promise<void> {
    return this.#inOrder(async () => {
      const opening = this.#openings.savepoint(texts, this.#status)
      opening.statements.push(...texts.map(control))
      this.#assertWell(await this.#send(opening, ours))
    })
  }

  /** Returns the connection; destroys it if its last batch did not end well. A second call does nothing. */
  release (): void {
    if (this.#isReturned) return
    this.#isReturned = true
    const isUsable = this.#running === 0 && this.#status === 'I' && !this.#mustDestroy &&
      !this.#state.isDead && !this.#state.servedTooManySchemas
    this.#client.release(!isUsable)
    if (isUsable && !this.#settings.isPooled) this.#state.idle(this.#settings.resetRules)
    this.#onReturn()
  }

  /** Fails what runs on the connection and ends it, see {@link BackendStopper}. `patience`: 0 where it answers nothing any more. */
  destroy (timeoutMs: number = this.#owner.deadline): void {
    if (this.#isReturned) return
    this.#isReturned = true
    this.#mustDestroy = true
    this.#settings.stopper.end(this.#client, this.#state, timeoutMs, this.#onReturn)
  }

  async #endTransaction (how: 'commit' | 'rollback'): Promise<void> {
    // Ordered behind whatever was not awaited: that ran inside the transaction, or not at all.
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
    // The undo of an earlier statement failed, so its transaction is still open.
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
      // What made the first attempt fail may also have changed what the statement does.
      const isHarmless = query.isHarmless === true && !isAgain
      this.#state.follow(this.#settings.catalogVersion)
      const coming = { isHarmless, usesSequences: !isHarmless || keyword !== 'SELECT' }
      const opening = this.#openings.open(coming, this.#status)
      const { statements } = opening
      const isBegun = this.#status !== 'I' && !this.#openings.isBeginPending
      const context = this.#owner.context?.(this.#state.client, isBegun, chunk > 0)
      const isAnew = opening.drops !== 'nothing'
      if (context !== undefined) statements.push(this.#prepared(context, context.name, 0, isAnew))
      // Without parameters a plan is always the generic one: such a statement is not worth a name.
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
      // Nothing ran before, so the transaction may begin again. A failed one is ended first.
      if (!isAlone) this.#openings.isBeginPending = true
    }
  }

  /** Checks how a statement ended, and returns its result. */
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

  /** Looks at rows of a table that the catalog was not read for, now that it can be. */
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
    // A snapshot can be older than the table that it reads.
    if (positions === undefined)
      throw new DatabaseUnavailableError(undefined, { cause: new UnverifiedRowsError({ fields, rows }) })
    if (!rows.some(row => isForeign(guard, positions, row))) return
    this.destroy()
    throw new IsolationBreachError()
  }

  // The statement before may have left a search path on which other operators come first.
  async #readCatalog<R> (
    text: string,
    values: readonly unknown[] = []
  ): Promise<{ rows: R[]; rowCount: number | null }> {
    const query = { text, values, name: '', isParsed: false, chunk: 0 }
    const end = await this.#send({ ...nothing, statements: [catalogPath, query] }, ours)
    this.#assertWell(end)
    return { rows: end.reply.rows as R[], rowCount: end.reply.rowCount }
  }

  // A text that names no schema means other tables in another one: there it is another statement.
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
      const batch = new Batch(opening, { types: types ?? this.#settings.types, rowMode }, {
        takeStatementsToClose: () => state.names.takeStatementsToClose(),
        // Pauses the reply deadline while the application consumes a portion. It restarts with the next request for one.
        ...(onChunk && {
          onChunk: async (rows: unknown[]) => {
            state.expect(deadline, undefined)
            const isWanted = await onChunk(rows)
            if (!isOver) state.expect(deadline, destroy)
            return isWanted
          }
        }),
        guard,
        onParsed: statement => state.learn(statement),
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
      state.expect(deadline, destroy)
      // Recorded only now: a value that cannot be encoded must not take them from the statement after it.
      if (drops === 'everything') state.reset()
      else if (drops === 'names') state.dropNames()
      if (isCheck) state.isChecked = true
      state.traces.add(tenant, isHarmless, usesSequences)
      this.#openings.isBeginPending = false
      state.send(batch)
    })
  }

  /** Decides from a batch's end whether the connection may serve on. */
  #ended ({ error, status, isResetError, undoAnswer }: BatchEnd, tail: Tail | undefined): void {
    this.#ends++
    this.#status = status
    const isUndone = tail?.undo !== undefined && status !== undefined
    if (isUndone && !checkBackend(this.#openings.backend, undoAnswer, this.#owner.tenant))
      this.#mustDestroy = true
    if (status !== undefined && isServerError(error)) {
      const hasAsked = this.#owner.isReadOnly === true ||
        this.#openings.begun?.endsWith('read only') === true
      this.#mustDestroy ||= isFailover(error, hasAsked)
    }
    if (error instanceof IsolationBreachError) this.destroy()
    this.#mustDestroy ||= error !== undefined && !(error instanceof UnverifiedRowsError) &&
      (status === undefined || !isServerError(error) || isResetError)
  }

  /** @throws what the batch failed with, as its caller may see it. */
  #assertWell ({ error, status, neverExecuted, isResetError }: BatchEnd): void {
    if (error === undefined) return
    if (isResetError) throw markNeverExecuted(new DatabaseUnavailableError(undefined, { cause: error }))
    if (status !== undefined || isIdleTimeout(error)) throw lockoutError(error) ?? error
    const lost = new DatabaseUnavailableError(undefined, { cause: error })
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
      // The statement runs on another connection, and this one serves no more.
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
