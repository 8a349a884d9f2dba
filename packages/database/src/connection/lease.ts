import { AbortedTransactionError } from 'kysely'
import type pg from 'pg'

import { DatabaseUnavailableError, IsolationBreachError, QueryRefusedError } from '../errors.ts'
import { readStatement, rowTags } from '../statement.ts'
import { cancelBackend } from './cancel.ts'
import { fenceError } from './fence-error.ts'
import { Batch, UnjudgedError, type BatchEnd, type BatchListener, type Reply, type Unjudged, type WireStatement } from './batch.ts'
import { isIdleTimeout, lostError } from './lost-error.ts'
import { isServerError } from './pg-internals.ts'
import { Portions } from './portions.ts'
import { isStaleName, markUntouched } from './retry.ts'
import { Session } from './session.ts'
import { StreamClock } from './stream-clock.ts'
import { isForeign, type RowGuard } from './tripwire.ts'

/** A statement with its parameters, not yet bound to a connection. */
export interface Query {
  readonly text: string
  readonly values: readonly unknown[]
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
  readonly tenant: string
  readonly context: MakeContext
  /** Undefined where the tripwire is off. */
  readonly guard: RowGuard | undefined
  /** The schema in which names without one are found, where it is not the same for all borrowers of the pool. */
  readonly schema?: string
  /** The longest that one statement may go unanswered, in milliseconds: past the server's own timeout, the server or the way to it is gone. */
  readonly deadline: number
  /** The longest that the server may work on one statement, in milliseconds. */
  readonly statementTimeout?: number
}

/** How statements are prepared on a pool's connections. */
export interface LeaseSettings {
  /** False where a pooler stands between, that cannot hold prepared names. */
  readonly names: boolean
  readonly types: unknown
}

/**
 * One connection, borrowed for one tenant. Every statement goes out with the tenant's context before it, in one batch.
 * On return the connection goes back to its pool only if it is provably clean; otherwise it is destroyed.
 */
export class Lease {
  readonly #client: pg.PoolClient
  readonly #session: Session
  readonly #borrower: Borrower
  readonly #settings: LeaseSettings
  readonly #onReturn: () => void
  /** The transaction control to send with the next statement: a transaction begins with its first statement. */
  #pendingBegin: string | undefined
  #begin = ''
  #status: BatchEnd['status'] = 'I'
  #isTransaction = false
  /** Until the first answer: what is lost before it can be sent again on another connection. */
  #isFresh = true
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
    if (borrower.schema !== undefined) this.#session.visit(borrower.schema)
  }

  get isTransaction (): boolean {
    return this.#isTransaction
  }

  /** Whether rows are being read in portions: such a statement does not end by itself. */
  get isStreaming (): boolean {
    return this.#streams > 0
  }

  /** Runs one row statement within the tenant's context. */
  run (query: Query): Promise<Reply> {
    return this.#inOrder(() => this.#runWithContext(query))
  }

  /** Like `run`, with rows in portions of `size`, read as they are asked for. */
  async * stream (query: Query, size: number): AsyncIterableIterator<unknown[]> {
    const portions = new Portions()
    const clock = new StreamClock(this.#borrower.statementTimeout, () => {
      // The request to cancel may arrive late, so the connection is not used again.
      this.#isSpoilt = true
      cancelBackend(this.#session.client)
    })
    this.#streams++
    const end = this.#inOrder(() => {
      clock.start()
      return this.#runWithContext(query, size, { onPortion: clock.pausing(rows => portions.onPortion(rows)) })
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

  /** Takes the place of a lease whose connection had ended before it ran anything. */
  takeOver (lost: Lease): void {
    if (lost.#isTransaction) this.begin(lost.#begin)
  }

  /** Begins a transaction with the next statement, so that it costs no wait of its own. */
  begin (characteristics: string): void {
    this.#isTransaction = true
    this.#begin = characteristics
    this.#pendingBegin = `begin${characteristics}`
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
  control (text: string): Promise<void> {
    return this.#inOrder(async () => {
      await this.#send([...this.#beginning(), control(text)])
    })
  }

  /** Returns the connection; destroys it unless it is provably clean. A second call does nothing. */
  release (): void {
    if (this.#isReturned) return
    this.#isReturned = true
    const isClean = this.#running === 0 && this.#status === 'I' && !this.#isSpoilt && !this.#session.isDead && !this.#session.isChanged && !this.#session.isWorn
    this.#client.release(!isClean)
    this.#onReturn()
  }

  /** Ends the connection at once, and has the server stop what runs on it. */
  destroy (): void {
    if (this.#isReturned) return
    this.#isReturned = true
    this.#isSpoilt = true
    this.#client.release(true)
    cancelBackend(this.#session.client)
    this.#session.client.connection.stream.destroy()
    this.#onReturn()
  }

  async #endTransaction (how: 'commit' | 'rollback'): Promise<void> {
    // Ordered behind whatever was not awaited: that ran inside the transaction, or not at all.
    await this.#inOrder(async () => {
      this.#isTransaction = false
      // Nothing was sent, or nothing is left to end.
      if (this.#pendingBegin !== undefined || this.#session.isDead) {
        this.#pendingBegin = undefined
        if (this.#session.isDead && how === 'commit') throw lostError(this.#session.fatal)
        return
      }
      const { tag } = await this.#send([control(how)])
      if (how === 'commit' && tag !== 'COMMIT') {
        throw new AbortedTransactionError()
      }
    })
  }

  async #runWithContext (query: Query, portion = 0, listener: Pick<BatchListener, 'onPortion'> = {}): Promise<Reply> {
    const { isAllowed, keyword, takesSessionLock, mayChangeSession, mayAskSequences, name } = readStatement(query.text)
    if (!isAllowed) throw new QueryRefusedError(`A tenant's handle runs SELECT, INSERT, UPDATE, DELETE and MERGE only, got ${keyword || 'no keyword'}: use the transaction methods of Kysely, and migrations for the rest`)
    if (takesSessionLock) throw new QueryRefusedError('A tenant\'s handle takes no lock of the session, which would outlive its statement: use pg_advisory_xact_lock() in a transaction')
    if (mayChangeSession) this.#isSpoilt = true
    const context = this.#borrower.context(this.#session.client, this.#status !== 'I', portion > 0)
    const contextName = context.name
    // Without parameters a plan is always the generic one: such a statement is not worth a name.
    const statementName = query.values.length > 0 && name !== '' ? this.#nameHere(name) : ''
    const send = (): Promise<BatchEnd> => {
      const statements = this.#beginning()
      if (mayAskSequences && !this.#isTransaction) statements.push(forgetSequences)
      statements.push(this.#prepared(context, contextName, 0), this.#prepared(query, statementName, portion))
      return this.#send(statements, listener, this.#borrower.guard)
    }
    const wasIdle = this.#status === 'I' && this.#pendingBegin === undefined
    let end: BatchEnd
    try {
      end = await send()
    } catch (error) {
      if (error instanceof UnjudgedError) {
        await this.#judge(error.unjudged)
        throw new DatabaseUnavailableError(undefined, { cause: error })
      }
      if (!isStaleName(error)) throw error
      this.#session.forgetAll([contextName, statementName])
      // Nothing of a failed batch remains, so that it may run again; a failed transaction must be ended by who began it.
      if (!wasIdle || portion > 0) throw error
      end = await send()
    }
    const { tag } = end
    if (!rowTags.has(tag)) {
      this.destroy()
      throw new QueryRefusedError(`A tenant's handle runs SELECT, INSERT, UPDATE, DELETE and MERGE only, and the server answered ${tag || 'nothing'}`)
    }
    // SELECT … INTO has the tag of a select, and made a table: a temporary one would outlive this borrower.
    if (tag === 'SELECT' && !end.reply.hasRows) {
      this.destroy()
      throw new QueryRefusedError('A tenant\'s handle makes no tables, got SELECT … INTO')
    }
    if (end.unjudged !== undefined) await this.#judge(end.unjudged)
    if (end.contextAnswer != null) context.onAnswer?.(end.contextAnswer)
    return end.reply
  }

  /** Looks at rows of a table that the catalog was not read for, now that it can be. */
  async #judge ({ fields, rows }: Unjudged): Promise<void> {
    const { guard, deadline } = this.#borrower
    if (guard === undefined) return
    this.#session.expect(deadline, () => this.destroy())
    try {
      await guard.learn(fields, this.#session.client)
    } catch (error) {
      this.destroy()
      throw new DatabaseUnavailableError(undefined, { cause: error })
    } finally {
      this.#session.finish()
    }
    const positions = guard.tenantColumns(fields)
    // A snapshot can be older than the table that it reads.
    if (positions === undefined) throw new DatabaseUnavailableError(undefined, { cause: new UnjudgedError({ fields, rows }) })
    if (!rows.some(row => isForeign(guard, positions, row))) return
    this.destroy()
    throw new IsolationBreachError()
  }

  // A text that names no schema means other tables in another one: there it is another statement.
  #nameHere (name: string): string {
    const { schema } = this.#borrower
    return schema === undefined ? name : `${name}${readStatement(schema).name}`
  }

  #prepared ({ text, values }: Query, name: string, portion: number): WireStatement {
    const used = this.#settings.names ? name : ''
    return { text, values, name: used, isParsed: used !== '' && this.#session.knows(used, text), portion }
  }

  // It stays pending until it was sent: what cannot be encoded must not take it away from the statement after.
  #beginning (): WireStatement[] {
    return this.#pendingBegin === undefined ? [] : [control(this.#pendingBegin), forgetSequences]
  }

  #send (statements: readonly WireStatement[], { onPortion }: Pick<BatchListener, 'onPortion'> = {}, guard?: RowGuard): Promise<BatchEnd> {
    const session = this.#session
    const destroy = (): void => this.destroy()
    let isOver = false
    return new Promise<BatchEnd>((resolve, reject) => {
      const batch = new Batch(statements, this.#settings.types, {
        takeClosing: () => session.takeClosing(),
        // A reader of portions takes its time; the server is owed none for the next.
        ...(onPortion && { onPortion: async (rows: unknown[]) => {
          session.expect(this.#borrower.deadline, undefined)
          const isWanted = await onPortion(rows)
          if (!isOver) session.expect(this.#borrower.deadline, destroy)
          return isWanted
        } }),
        guard,
        onParsed: (name, text) => session.learn(name, text),
        onEnd: end => {
          isOver = true
          session.finish()
          const error = this.#errorOf(end)
          if (error === undefined) resolve(end)
          else reject(error as Error)
        }
      })
      if (this.#isReturned) throw returned()
      if (session.isDead) throw lostError(session.fatal)
      session.expect(this.#borrower.deadline, destroy)
      this.#pendingBegin = undefined
      session.send(batch)
    })
  }

  /** What a batch failed with; it decides whether the connection may serve on. */
  #errorOf ({ error, status, isUntouched }: BatchEnd): unknown {
    const isFirst = this.#isFresh
    this.#isFresh = false
    this.#status = status
    if (error === undefined) return undefined
    if (status !== undefined && isServerError(error)) return fenceError(error) ?? error
    if (error instanceof IsolationBreachError) this.destroy()
    // Its connection is as good as before.
    if (error instanceof UnjudgedError) return error
    this.#isSpoilt = true
    if (status !== undefined || isIdleTimeout(error)) return error
    const lost = new DatabaseUnavailableError(undefined, { cause: error })
    if (isUntouched && isFirst) markUntouched(lost)
    return lost
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

function control (text: string): WireStatement {
  return { text, values: [], name: '', isParsed: false, portion: 0 }
}

// lastval() and currval() answer with what the session drew last, and so with the last borrower's. Within a transaction they are its own:
// there it goes once, behind the begin. A statement outside one draws a value and shows it in `returning`, or not at all.
const forgetSequences = control('discard sequences')

function returned (): Error {
  return new DatabaseUnavailableError('The connection was returned before this statement ran: await every statement of a transaction')
}
