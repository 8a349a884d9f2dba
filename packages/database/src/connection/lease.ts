import type pg from 'pg'

import { DatabaseUnavailableError, IsolationBreachError, QueryRefusedError } from '../errors.ts'
import { readAllowed, readStatement, rowTags } from '../statement.ts'
import type { Borrower, Context, Query } from './borrower.ts'
import { cancelStatement } from './cancel.ts'
import { fenceError } from './fence-error.ts'
import { Batch, UnjudgedError, type BatchEnd, type BatchListener, type Reply, type Tail, type Unjudged,
  type WireStatement } from './batch.ts'
import { isServerError } from './pg-internals.ts'
import { Portions } from './portions.ts'
import type { LeaseSettings } from './lease-settings.ts'
import { isIdleTimeout, lostError } from './lost-error.ts'
import { checkBackend } from './pooler.ts'
import { assertCommitted, nothing, Openings, type Coming, type Opening } from './openings.ts'
import { catalogPath, control } from './reset.ts'
import { isFailover } from './read-only.ts'
import { isUntouched, markUntouched, stalenessOf } from './retry.ts'
import { Session } from './session.ts'
import { StreamClock } from './stream-clock.ts'
import { isForeign, type RowGuard } from './tripwire.ts'

export type { Borrower, Context, MakeContext, Query } from './borrower.ts'

interface Sending extends Coming {
  readonly onPortion: BatchListener['onPortion']
  readonly guard: RowGuard | undefined
  readonly rowMode?: Query['rowMode']
  readonly types?: unknown
}

/** For statements of the driver's own. */
const ours: Sending = { isHarmless: true, usesSequences: false, onPortion: undefined, guard: undefined }

/**
 * One connection, borrowed for one owner. Every statement goes out with the owner's context before it, in one batch.
 * If other owners left traces on the connection which the statement could reach, a reset goes before both.
 */
export class Lease {
  readonly #client: pg.PoolClient
  readonly #session: Session
  readonly #borrower: Borrower
  readonly #settings: LeaseSettings
  readonly #onReturn: () => void
  readonly #openings: Openings
  #status: BatchEnd['status'] = 'I'
  /** How many batches have ended. A statement lost in the first may not have run, and then may run on another connection. */
  #ends = 0
  #isSpoilt = false
  #isReturned = false
  // Statements of one connection run one after the other, in the order they were asked for.
  readonly #queue: (() => void)[] = []
  #running = 0
  #streams = 0

  /** @param onReturn called once, when the connection is back or destroyed. */
  constructor (client: pg.PoolClient, borrower: Borrower, settings: LeaseSettings, onReturn: () => void) {
    this.#client = client
    this.#session = Session.of(client)
    this.#borrower = borrower
    this.#onReturn = onReturn
    this.#settings = settings
    this.#openings = new Openings(this.#session, settings, borrower.tenant)
    this.#session.claim()
    if (borrower.schema !== undefined) this.#session.visit(borrower.schema)
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
    const portions = new Portions()
    const clock = new StreamClock(this.#borrower.statementTimeout, () => {
      // A request to cancel may arrive late, so the connection is not used again.
      this.#isSpoilt = true
      cancelStatement(this.#session.client)
    })
    this.#streams++
    const end = this.#inOrder(() => {
      clock.start()
      return this.#runWithContext(query, size, clock.pausing(rows => portions.onPortion(rows)))
    }).finally(() => {
      clock.stop()
      this.#streams--
    })
    end.then(reply => portions.finish(reply.rows), (error: unknown) => portions.fail(error))
    try {
      yield* portions
    } finally {
      portions.cancel()
      await end.catch(() => {})
    }
  }

  /** Takes the place of a lease whose connection did not run anything of its transaction. */
  takeOver (lost: Lease): void {
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
    const isUsable = this.#running === 0 && this.#status === 'I' && !this.#isSpoilt &&
      !this.#session.isDead && !this.#session.isWorn
    this.#client.release(!isUsable)
    if (isUsable && !this.#settings.isPooled) this.#session.idle(this.#settings.resetRules)
    this.#onReturn()
  }

  /** Fails what runs on the connection and ends it, see {@link BackendStopper}. `patience`: 0 where it answers nothing any more. */
  destroy (patience: number = this.#borrower.deadline): void {
    if (this.#isReturned) return
    this.#isReturned = true
    this.#isSpoilt = true
    this.#settings.stopper.end(this.#client, this.#session, patience, this.#onReturn)
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

  async #runWithContext (query: Query, portion = 0, onPortion?: BatchListener['onPortion']): Promise<Reply> {
    const { keyword, name } = readAllowed(query.text, this.#settings.isPooled)
    const isAlone = !this.#openings.isTransaction
    // The undo of an earlier statement failed, so its transaction is still open.
    if (isAlone && this.#status !== 'I') throw markUntouched(new DatabaseUnavailableError())
    let isDelivered = false
    const sending: Omit<Sending, keyof Coming> = {
      guard: this.#borrower.guard,
      rowMode: query.rowMode,
      types: query.types,
      onPortion: onPortion && (rows => {
        isDelivered = true
        return onPortion(rows)
      })
    }
    for (let isAgain = false;; isAgain = true) {
      const isFirst = isAlone || !this.#openings.hasRun
      // What made the first attempt fail may also have changed what the statement does.
      const isHarmless = query.isHarmless === true && !isAgain
      this.#session.follow(this.#settings.catalogVersion)
      const coming = { isHarmless, usesSequences: !isHarmless || keyword !== 'SELECT' }
      const opening = this.#openings.open(coming, this.#status)
      const { statements } = opening
      const isBegun = this.#status !== 'I' && !this.#openings.isBeginPending
      const context = this.#borrower.context?.(this.#session.client, isBegun, portion > 0)
      const isAnew = opening.drops !== 'nothing'
      if (context !== undefined) statements.push(this.#prepared(context, context.name, 0, isAnew))
      // Without parameters a plan is always the generic one: such a statement is not worth a name.
      statements.push(
        this.#prepared(
          query,
          query.values.length > 0 && name !== '' ? this.#keyHere(name) : '',
          portion,
          isAnew
        )
      )
      const end = await this.#send(opening, { ...sending, ...coming })
      const staleness = stalenessOf(end)
      if (staleness === undefined) {
        this.#openings.hasRun = true
        return this.#accept(end, context)
      }
      this.#session.names.forget()
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
    if (end.error instanceof UnjudgedError) {
      await this.#judge(end.error.unjudged)
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
    if (end.unjudged !== undefined) await this.#judge(end.unjudged)
    if (end.contextAnswer != null) context?.onAnswer?.(end.contextAnswer)
    return end.reply
  }

  /** Looks at rows of a table that the catalog was not read for, now that it can be. */
  async #judge ({ fields, rows }: Unjudged): Promise<void> {
    const { guard } = this.#borrower
    if (guard === undefined) return
    try {
      await guard.learn(fields, { query: (text, values) => this.#readCatalog(text, values) })
    } catch (error) {
      this.destroy()
      throw new DatabaseUnavailableError(undefined, { cause: error })
    }
    const positions = guard.tenantColumns(fields)
    // A snapshot can be older than the table that it reads.
    if (positions === undefined)
      throw new DatabaseUnavailableError(undefined, { cause: new UnjudgedError({ fields, rows }) })
    if (!rows.some(row => isForeign(guard, positions, row))) return
    this.destroy()
    throw new IsolationBreachError()
  }

  // The statement before may have left a search path on which other operators come first.
  async #readCatalog<R> (
    text: string,
    values: readonly unknown[] = []
  ): Promise<{ rows: R[]; rowCount: number | null }> {
    const query = { text, values, name: '', isParsed: false, portion: 0 }
    const end = await this.#send({ ...nothing, statements: [catalogPath, query] }, ours)
    this.#assertWell(end)
    return { rows: end.reply.rows as R[], rowCount: end.reply.rowCount }
  }

  // A text that names no schema means other tables in another one: there it is another statement.
  #keyHere (name: string): string {
    const { schema } = this.#borrower
    return schema === undefined ? name : `${name}${readStatement(schema).name}`
  }

  #prepared ({ text, values }: Query, key: string, portion: number, isAnew: boolean): WireStatement {
    if (key === '' || this.#settings.isPooled) return { text, values, name: '', isParsed: false, portion }
    const { names } = this.#session
    const known = isAnew ? undefined : names.find(key, text)
    return { text, values, name: known ?? names.make(), key, isParsed: known !== undefined, portion }
  }

  #send (
    opening: Opening,
    { isHarmless, usesSequences, onPortion, guard, rowMode, types }: Sending
  ): Promise<BatchEnd> {
    const { drops, isCheck } = opening
    const { tenant, deadline } = this.#borrower
    const session = this.#session
    const destroy = (): void => this.destroy(0)
    let isOver = false
    return new Promise<BatchEnd>(resolve => {
      const batch = new Batch(opening, { types: types ?? this.#settings.types, rowMode }, {
        takeClosing: () => session.names.takeClosing(),
        // Pauses the reply deadline while the application consumes a portion. It restarts with the next request for one.
        ...(onPortion && {
          onPortion: async (rows: unknown[]) => {
            session.expect(deadline, undefined)
            const isWanted = await onPortion(rows)
            if (!isOver) session.expect(deadline, destroy)
            return isWanted
          }
        }),
        guard,
        onParsed: statement => session.learn(statement),
        enqueue: query => session.enqueue(query),
        onEnd: end => {
          isOver = true
          session.finish()
          this.#ended(end, opening.tail)
          if (opening.dropsSequences && end.error === undefined)
            session.traces.keepSequencesOf(usesSequences ? tenant : undefined)
          if (isCheck && end.isResetError)
            void this.#settings.roleSettings?.pin().catch(() => {}).then(() => resolve(end))
          else resolve(end)
        }
      })
      if (this.#isReturned) throw returned()
      if (session.isDead) throw lostError(session.fatal)
      session.expect(deadline, destroy)
      // Recorded only now: a value that cannot be encoded must not take them from the statement after it.
      if (drops === 'everything') session.reset()
      else if (drops === 'names') session.dropNames()
      if (isCheck) session.isChecked = true
      session.traces.add(tenant, isHarmless, usesSequences)
      this.#openings.isBeginPending = false
      session.send(batch)
    })
  }

  /** Decides from a batch's end whether the connection may serve on. */
  #ended ({ error, status, isResetError, undoAnswer }: BatchEnd, tail: Tail | undefined): void {
    this.#ends++
    this.#status = status
    const isUndone = tail?.undo !== undefined && status !== undefined
    if (isUndone && !checkBackend(this.#openings.backend, undoAnswer, this.#borrower.tenant))
      this.#isSpoilt = true
    if (status !== undefined && isServerError(error)) {
      const hasAsked = this.#borrower.isReadOnly === true ||
        this.#openings.begun?.endsWith('read only') === true
      this.#isSpoilt ||= isFailover(error, hasAsked)
    }
    if (error instanceof IsolationBreachError) this.destroy()
    this.#isSpoilt ||= error !== undefined && !(error instanceof UnjudgedError) &&
      (status === undefined || !isServerError(error) || isResetError)
  }

  /** @throws what the batch failed with, as its caller may see it. */
  #assertWell ({ error, status, isUntouched, isResetError }: BatchEnd): void {
    if (error === undefined) return
    if (isResetError) throw markUntouched(new DatabaseUnavailableError(undefined, { cause: error }))
    if (status !== undefined || isIdleTimeout(error)) throw fenceError(error) ?? error
    const lost = new DatabaseUnavailableError(undefined, { cause: error })
    throw isUntouched && this.#ends === 1 ? markUntouched(lost) : lost
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
      if (isUntouched(error)) this.#isSpoilt = true
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
