import { AbortedTransactionError } from 'kysely'
import type pg from 'pg'

import { DatabaseUnavailableError, IsolationBreachError, QueryRefusedError } from '../errors.ts'
import { readStatement, rowTags } from '../statement.ts'
import { requestCancel } from './cancel.ts'
import { fenceError } from './fence-error.ts'
import { Batch, UnjudgedError, type BatchEnd, type BatchListener, type Reply, type Tail, type Unjudged, type WireStatement } from './batch.ts'
import { isServerError } from './pg-internals.ts'
import { Portions } from './portions.ts'
import type { LeaseSettings } from './lease-settings.ts'
import { checkBackend } from './pooler.ts'
import { catalogPath, control, deallocateAll, discardSequences, resetStatements, undoText } from './reset.ts'
import { isReadOnlyError, noteAsked } from './read-only.ts'
import { markUntouched, stalenessOf } from './retry.ts'
import { Session } from './session.ts'
import { StreamClock } from './stream-clock.ts'
import { isForeign, type RowGuard } from './tripwire.ts'

/** A statement with its parameters, not yet bound to a connection. */
export interface Query {
  readonly text: string
  readonly values: readonly unknown[]
  /** Whether the statement is proved to change and read nothing of its session. Absent means that it may. */
  readonly isHarmless?: boolean
}

/** What a connection runs before a statement of a tenant. */
export interface Context extends Query {
  /** The name that its text is prepared under. */
  readonly name: string
  /** Told the first value of the context's answer, once the whole batch went well. */
  readonly onAnswer?: (value: string) => void
}

/**
 * Makes the context of one statement; `isBegun` where its transaction has run statements before. `isStream` where its rows
 * are read in portions: the server's own timeout is off then, see {@link StreamClock}.
 */
export type MakeContext = (client: { readonly processID: number | null }, isBegun: boolean, isStream?: boolean) => Context

/** Whom a connection is borrowed for. */
export interface Borrower {
  /** A tenant's id; for other kinds of handles a name with a colon, which no tenant's id has. */
  readonly tenant: string
  /** Undefined for look-ups, which speak for no tenant. */
  readonly context: MakeContext | undefined
  /** Undefined where the tripwire is off. */
  readonly guard: RowGuard | undefined
  /** The schema in which names without one are found, where it is not the same for all borrowers of the pool. */
  readonly schema?: string
  /** The longest that one statement may go unanswered, in milliseconds: past the server's own timeout, the server or the way to it is gone. */
  readonly deadline: number
  /** Whether its context makes each transaction read-only. @default false */
  readonly isReadOnly?: boolean
  /** The longest that the server may work on one statement, in milliseconds. */
  readonly statementTimeout?: number
}

/** What a timer of Node's can wait for. */
const longestTimeout = 2 ** 31 - 1

/** The first statements of a batch. */
interface Opening {
  readonly statements: WireStatement[]
  readonly resetLength: number
  readonly dropsNames: boolean
  readonly tail: Tail | undefined
}

interface Sending {
  readonly isHarmless: boolean
  readonly onPortion?: BatchListener['onPortion']
  readonly guard?: RowGuard | undefined
}

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
  /** What began the open transaction: `begin`, and the savepoints before its first statement. */
  #prelude: string[] = []
  /** Whether `begin` is still to be sent: it travels with the first statement. */
  #isBeginPending = false
  /** Whether a statement of the open transaction was sent. */
  #hasRun = false
  /** Whether traces of other owners are on the connection while the transaction is open. */
  #seesOthers = false
  /** Whether the open transaction may leave traces on a pooler's backend. */
  #leavesTraces = false
  /** The pooler's backend that runs the transaction. */
  #backend: string | null = null
  #status: BatchEnd['status'] = 'I'
  #isTransaction = false
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
    this.#session.claim()
    if (borrower.schema !== undefined) this.#session.visit(borrower.schema)
  }

  get isTransaction (): boolean {
    return this.#isTransaction
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
  async * stream (query: Query, size: number): AsyncIterableIterator<unknown[]> {
    const portions = new Portions()
    const clock = new StreamClock(this.#borrower.statementTimeout ?? longestTimeout, () => this.#cancel())
    const onPortion = async (rows: unknown[]): Promise<boolean> => {
      clock.stop()
      const isWanted = await portions.onPortion(rows)
      clock.start()
      return isWanted
    }
    this.#streams++
    const end = this.#inOrder(() => {
      clock.start()
      return this.#runWithContext(query, size, onPortion)
    }).finally(() => {
      clock.stop()
      this.#streams--
    })
    end.then(reply => portions.finish(reply.rows), (error: unknown) => portions.fail(error))
    try {
      yield * portions
    } finally {
      portions.cancel()
      await end.catch(() => {})
    }
  }

  /** Takes the place of a lease whose connection did not run anything of its transaction. */
  takeOver (lost: Lease): void {
    const [begin] = lost.#prelude
    if (lost.#isTransaction && begin !== undefined) this.#beginWith(begin)
  }

  /** Begins a transaction with the next statement, so that it costs no wait of its own. */
  begin (characteristics: string): void {
    this.#beginWith(`begin${characteristics}`)
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
      const { statements, ...opening } = this.#open(true)
      if (!this.#hasRun) this.#prelude.push(...texts)
      this.#assertWell(await this.#send({ ...opening, statements: [...statements, ...texts.map(control)] }, { isHarmless: true }))
    })
  }

  /** Returns the connection; destroys it if its last batch did not end well. A second call does nothing. */
  release (): void {
    if (this.#isReturned) return
    this.#isReturned = true
    const isUsable = this.#running === 0 && this.#status === 'I' && !this.#isSpoilt && !this.#session.isDead && !this.#session.isWorn
    this.#client.release(!isUsable)
    if (isUsable && !this.#settings.isPooled) this.#session.idle(this.#settings.resetRules)
    this.#onReturn()
  }

  /**
   * Fails what runs on the connection, stops it in the server, and then ends the connection. It counts as borrowed until
   * its backend is idle.
   *
   * @param patience the longest to wait for that, in milliseconds; 0 where the connection answers nothing any more
   */
  destroy (patience: number = this.#borrower.deadline): void {
    if (this.#isReturned) return
    this.#isReturned = true
    this.#isSpoilt = true
    if (!this.#session.isBusy) {
      this.#end()
      return
    }
    void this.#settings.stopper.stop(this.#session.client, patience).then(() => { this.#end() })
    this.#session.abandon()
  }

  #end (): void {
    this.#client.release(true)
    this.#session.client.connection.stream.destroy()
    this.#onReturn()
  }

  #beginWith (begin: string): void {
    this.#isTransaction = true
    this.#prelude = [begin]
    this.#isBeginPending = true
    this.#hasRun = this.#seesOthers = this.#leavesTraces = false
  }

  /** Has the server stop the statement that runs, and waits for its answer. The request may arrive late, so the connection is not used again. */
  #cancel (): void {
    this.#isSpoilt = true
    requestCancel(this.#session.client)
  }

  async #endTransaction (how: 'commit' | 'rollback'): Promise<void> {
    // Ordered behind whatever was not awaited: that ran inside the transaction, or not at all.
    await this.#inOrder(async () => {
      this.#isTransaction = false
      const wasSent = !this.#isBeginPending
      this.#isBeginPending = false
      if (!wasSent) return
      // The connection is lost, or its reset failed: no transaction is open.
      if (this.#session.isDead || this.#status === 'I' || this.#status === undefined) {
        if (how === 'commit') throw this.#lost()
        return
      }
      const tail = this.#leavesTraces ? this.#undoing(undefined) : undefined
      const end = await this.#send({
        statements: [control(tail === undefined ? how : `${how} and chain`)], resetLength: 0, dropsNames: false, tail
      }, { isHarmless: true })
      this.#assertWell(end)
      if (how === 'commit' && end.tag !== 'COMMIT') throw new AbortedTransactionError()
    })
  }

  async #runWithContext (query: Query, portion = 0, onPortion?: BatchListener['onPortion']): Promise<Reply> {
    const { isAllowed, keyword, takesSessionLock, makesTable, name } = readStatement(query.text)
    if (!isAllowed) throw new QueryRefusedError(`A tenant's handle runs SELECT, INSERT, UPDATE, DELETE and MERGE only, got ${keyword || 'no keyword'}: use the transaction methods of Kysely, and migrations for the rest`)
    if (takesSessionLock) throw new QueryRefusedError('A tenant\'s handle takes no lock of the session, which would outlive its statement: use pg_advisory_xact_lock() in a transaction')
    if (makesTable) throw new QueryRefusedError('A tenant\'s handle makes no tables, got SELECT … INTO')
    const isAlone = !this.#isTransaction
    // The undo of an earlier statement failed, so its transaction is still open.
    if (isAlone && this.#status !== 'I') throw markUntouched(new DatabaseUnavailableError())
    const isHarmless = query.isHarmless === true
    let isDelivered = false
    const sending: Sending = {
      isHarmless,
      guard: this.#borrower.guard,
      ...(onPortion && {
        onPortion: rows => {
          isDelivered = true
          return onPortion(rows)
        }
      })
    }
    for (let isAgain = false; ; isAgain = true) {
      const isFirst = isAlone || !this.#hasRun
      this.#session.follow(this.#settings.catalogVersion)
      const { statements, ...opening } = this.#open(isHarmless)
      const context = this.#borrower.context?.(this.#session.client, this.#status !== 'I' && !this.#isBeginPending, portion > 0)
      const isAnew = opening.dropsNames
      if (context !== undefined) statements.push(this.#prepared(context, context.name, 0, isAnew))
      // Without parameters a plan is always the generic one: such a statement is not worth a name.
      statements.push(this.#prepared(query, query.values.length > 0 && name !== '' ? this.#keyHere(name) : '', portion, isAnew))
      const end = await this.#send({ ...opening, statements }, sending)
      const staleness = stalenessOf(end)
      if (staleness === undefined) {
        this.#hasRun = true
        return this.#accept(end, context)
      }
      this.#session.names.forget()
      if (staleness === 'changed') await this.#settings.onStale()
      if (!isFirst || isDelivered || isAgain) {
        if (staleness === 'possible') this.#assertWell(end)
        throw new DatabaseUnavailableError(undefined, { cause: end.error })
      }
      // Nothing ran before, so the transaction may begin again. A failed one is ended first.
      if (!isAlone) this.#isBeginPending = true
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
      throw new QueryRefusedError(`A tenant's handle runs SELECT, INSERT, UPDATE, DELETE and MERGE only, and the server answered ${tag || 'nothing'}`)
    }
    // SELECT … INTO has the command tag SELECT but sends no RowDescription.
    if (tag === 'SELECT' && !end.reply.hasRows) {
      this.destroy()
      throw new QueryRefusedError('A tenant\'s handle makes no tables, got SELECT … INTO')
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
    if (positions === undefined) throw new DatabaseUnavailableError(undefined, { cause: new UnjudgedError({ fields, rows }) })
    if (!rows.some(row => isForeign(guard, positions, row))) return
    this.destroy()
    throw new IsolationBreachError()
  }

  // The statement before may have left a search path on which other operators come first.
  async #readCatalog<R> (text: string, values: readonly unknown[] = []): Promise<{ rows: R[], rowCount: number | null }> {
    const query = { text, values, name: '', isParsed: false, portion: 0 }
    const end = await this.#send({ statements: [catalogPath, query], resetLength: 0, dropsNames: false, tail: undefined }, { isHarmless: true })
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

  /** What goes before a statement: a reset if one is due, and `begin` if it is pending. */
  #open (isHarmless: boolean): Opening {
    return this.#settings.isPooled ? this.#openPooled(isHarmless) : this.#openDirect(isHarmless)
  }

  #openDirect (isHarmless: boolean): Opening {
    const { reset, resetRules } = this.#settings
    const { traces } = this.#session
    const isOwn = traces.areOf(this.#borrower.tenant)
    // Within a transaction PostgreSQL refuses a reset. The two things that a clean connection shows are dropped instead.
    if (this.#isTransaction && !this.#isBeginPending) {
      const isHiding = this.#seesOthers && !isHarmless
      if (isHiding) this.#seesOthers = false
      return { statements: isHiding ? [deallocateAll] : [], resetLength: 0, dropsNames: isHiding, tail: undefined }
    }
    const isReset = this.#status === 'I' && !isOwn && (reset === 'always' || traces.isTouched || !isHarmless)
    if (isReset && resetRules.isImpossible && traces.isTouched) {
      this.#isSpoilt = true
      throw markUntouched(new DatabaseUnavailableError())
    }
    const statements = isReset ? resetStatements(resetRules) : []
    const resetLength = statements.length
    if (this.#isBeginPending) {
      statements.push(...this.#beginning())
      this.#seesOthers = !isOwn && !isReset
      if (this.#seesOthers) statements.push(discardSequences)
    }
    return { statements, resetLength, dropsNames: isReset, tail: undefined }
  }

  /** Behind a pooler a transaction may meet what a harmless statement of another owner left: the values of sequences. */
  #openPooled (isHarmless: boolean): Opening {
    const isUndone = !isHarmless || this.#settings.reset === 'always'
    const opening = { resetLength: 0, dropsNames: false }
    if (this.#isTransaction) {
      if (isUndone) this.#leavesTraces = true
      return { ...opening, statements: this.#isBeginPending ? [...this.#beginning(), this.#askBackend(), discardSequences] : [], tail: undefined }
    }
    if (!isUndone) return { ...opening, statements: [], tail: undefined }
    return { ...opening, statements: [control('begin'), this.#askBackend(), discardSequences], tail: this.#undoing('commit and chain') }
  }

  #beginning (): WireStatement[] {
    const begin = this.#prelude.map(control)
    return this.#status === 'E' ? [control('rollback'), ...begin] : begin
  }

  #askBackend (): WireStatement {
    return { ...control('select pg_catalog.pg_backend_pid()'), onAnswer: pid => { this.#backend = pid } }
  }

  // Where a reset is impossible the transaction stays open, so that the pooler closes the backend with the connection.
  #undoing (commit: string | undefined): Tail {
    const { resetRules } = this.#settings
    return { commit, undo: resetRules.isImpossible ? undefined : undoText(resetRules) }
  }

  #send ({ statements, resetLength, dropsNames, tail }: Opening, { isHarmless, onPortion, guard }: Sending): Promise<BatchEnd> {
    const [session, settings, { tenant, deadline }] = [this.#session, this.#settings, this.#borrower]
    const destroy = (): void => this.destroy(0)
    let isOver = false
    return new Promise<BatchEnd>(resolve => {
      const batch = new Batch({ statements, resetLength, tail }, settings.types, {
        takeClosing: () => session.names.takeClosing(),
        // Pauses the reply deadline while the application consumes a portion. It restarts with the next request for one.
        ...(onPortion && { onPortion: async (rows: unknown[]) => {
          session.expect(deadline, undefined)
          const isWanted = await onPortion(rows)
          if (!isOver) session.expect(deadline, destroy)
          return isWanted
        } }),
        guard,
        onParsed: statement => session.learn(statement),
        enqueue: query => session.enqueue(query),
        onEnd: end => {
          isOver = true
          session.finish()
          this.#ended(end, tail)
          resolve(end)
        }
      })
      if (this.#isReturned) throw returned()
      if (session.isDead) throw this.#lost()
      session.expect(deadline, destroy)
      // Recorded only now: a value that cannot be encoded must not take them from the statement after it.
      if (resetLength > 0) session.reset()
      else if (dropsNames) session.dropNames()
      session.traces.add(tenant, isHarmless)
      this.#isBeginPending = false
      session.send(batch)
    })
  }

  /** Decides from a batch's end whether the connection may serve on. */
  #ended ({ error, status, isResetError, undoAnswer }: BatchEnd, tail: Tail | undefined): void {
    this.#ends++
    this.#status = status
    if (tail?.undo !== undefined && status !== undefined && !checkBackend(this.#backend, undoAnswer, this.#borrower.tenant)) this.#isSpoilt = true
    if (status !== undefined && isServerError(error) && isReadOnlyError(error)) this.#onReadOnly(error)
    if (error instanceof IsolationBreachError) this.destroy()
    const isHarmed = error !== undefined && !(error instanceof UnjudgedError) && (status === undefined || !isServerError(error) || isResetError)
    if (isHarmed) this.#isSpoilt = true
  }

  /** @throws what the batch failed with, as its caller may see it. */
  #assertWell ({ error, status, isUntouched, isResetError }: BatchEnd): void {
    if (error === undefined) return
    if (isResetError) throw markUntouched(new DatabaseUnavailableError(undefined, { cause: error }))
    if (status !== undefined || isIdleTimeout(error)) throw fenceError(error) ?? error
    const lost = new DatabaseUnavailableError(undefined, { cause: error })
    throw isUntouched && this.#ends === 1 ? markUntouched(lost) : lost
  }

  // After a failover the connection may lead to the old primary, which takes no writes any more: the next one may not.
  #onReadOnly (error: pg.DatabaseError): void {
    if (this.#borrower.isReadOnly || this.#prelude[0]?.endsWith('read only') === true) noteAsked(error)
    else this.#isSpoilt = true
  }

  /** Why nothing can be sent any more. */
  #lost (): unknown {
    const { fatal } = this.#session
    return isIdleTimeout(fatal) ? fatal : new DatabaseUnavailableError(undefined, { cause: fatal })
  }

  async #inOrder<T> (work: () => Promise<T>): Promise<T> {
    if (this.#running++ > 0) await new Promise<void>(resolve => { this.#queue.push(resolve) })
    try {
      if (this.#isReturned) throw returned()
      return await work()
    } finally {
      this.#running--
      this.#queue.shift()?.()
    }
  }
}

// 25P03, 25P04: the server ended the connection because its transaction was idle, or open, for too long.
function isIdleTimeout (error: unknown): boolean {
  return isServerError(error) && (error.code === '25P03' || error.code === '25P04')
}

function returned (): Error {
  return new DatabaseUnavailableError('The connection was returned before this statement ran: await every statement of a transaction')
}
