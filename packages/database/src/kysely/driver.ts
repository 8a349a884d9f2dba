import { ScopeClosedError, InternalError, type TenantScope } from '@fastify-tenancy/core'
import { CompiledQuery, validateTransactionSettings, type DatabaseConnection, type Driver, type Log,
  type QueryResult, type TransactionSettings } from 'kysely'
import pg from 'pg'

import { isLockoutError } from '../connection/lockout-error.ts'
import type { Reply } from '../connection/pipelined-batch.ts'
import { neverExecuted } from '../connection/retry.ts'
import type { TenantConnection, Query } from '../connection/tenant-connection.ts'
import type { TextConnection, TextDriver } from '../connection/text-connection.ts'
import { IsolationBreachError, QueryRefusedError } from '../options/errors.ts'

/** What a driver asks of a scope: whether the work goes on. */
export type WorkScope =
  & Pick<TenantScope, 'assertOpen' | 'isClosed' | 'isAborted' | 'onClose'>
  & Partial<Pick<TenantScope, 'enter' | 'leave'>>

/** What a tenant's driver needs: whose work it is, and how it gets a connection that speaks for that tenant. */
export interface TenantDriverSettings {
  readonly scope: WorkScope
  /** Told when the tripwire has stopped a row. */
  readonly onBreach?: () => void
  /** Told when the database locked the tenant out, which its process took for served. */
  readonly onLockedOut?: () => void
  /** Told of each statement that failed. */
  readonly onFailure?: ((text: string, error: unknown) => void) | undefined
  /** Kysely's log, for what it does not see: transaction control. */
  readonly log?: Log | undefined
  acquire(): Promise<TenantConnection>
  /** What is sent for a compiled query; throws where it may not run here. @default its own text and parameters */
  statementOf?(query: CompiledQuery): Query
  /** Whether a compiled query is proved to change and read nothing of its session. @default none is */
  readonly isHarmless?: ((query: CompiledQuery) => boolean) | undefined
}

/** Kysely's driver for one scope: every connection it borrows speaks for the scope's tenant, and none outlives the scope. */
export class TenantDriver implements Driver, TextDriver {
  readonly #settings: TenantDriverSettings
  readonly #leases = new Set<TenantConnection>()

  constructor (settings: TenantDriverSettings) {
    this.#settings = settings
    settings.scope.onClose(() => this.#onScopeClose())
  }

  async init (): Promise<void> {}

  async acquireConnection (): Promise<KyselyConnection> {
    const connection = await this.#checkOut()
    return new KyselyConnection(connection, this.#settings, lost => this.#replace(lost))
  }

  async #replace (lost: TenantConnection): Promise<TenantConnection> {
    this.#forget(lost)
    lost.release()
    const connection = await this.#checkOut()
    connection.changeOwner(lost)
    return connection
  }

  async #checkOut (): Promise<TenantConnection> {
    const { scope } = this.#settings
    scope.assertOpen()
    const connection = await this.#acquire()
    // The scope may have ended while this waited in the queue.
    if (scope.isClosed) {
      connection.release()
      throw new ScopeClosedError()
    }
    this.#leases.add(connection)
    scope.enter?.()
    return connection
  }

  #forget (connection: TenantConnection): void {
    if (this.#leases.delete(connection)) this.#settings.scope.leave?.()
  }

  async #acquire (): Promise<TenantConnection> {
    try {
      return await this.#settings.acquire()
    } catch (error) {
      if (isLockoutError(error)) this.#settings.onLockedOut?.()
      throw error
    }
  }

  async releaseConnection (connection: KyselyConnection): Promise<void> {
    connection.lease.release()
    this.#forget(connection.lease)
  }

  async beginTransaction (connection: KyselyConnection, settings: TransactionSettings): Promise<void> {
    validateTransactionSettings(settings)
    const level = settings.isolationLevel === undefined ? '' : ` isolation level ${settings.isolationLevel}`
    const access = settings.accessMode === undefined ? '' : ` ${settings.accessMode}`
    await connection.begin(level + access)
  }

  async begin (connection: KyselyConnection, characteristics: string): Promise<void> {
    await connection.begin(characteristics && ` ${characteristics}`)
  }

  async commitTransaction (connection: KyselyConnection): Promise<void> {
    await connection.commit()
  }

  async rollbackTransaction (connection: KyselyConnection): Promise<void> {
    await connection.rollback()
  }

  async savepoint (connection: KyselyConnection, name: string): Promise<void> {
    await connection.control(`savepoint ${pg.escapeIdentifier(name)}`)
  }

  async rollbackToSavepoint (connection: KyselyConnection, name: string): Promise<void> {
    await connection.control(`rollback to savepoint ${pg.escapeIdentifier(name)}`)
  }

  async releaseSavepoint (connection: KyselyConnection, name: string): Promise<void> {
    await connection.control(`release savepoint ${pg.escapeIdentifier(name)}`)
  }

  async destroy (): Promise<void> {
    throw new InternalError(
      'request.db belongs to its request and is never destroyed: close the app, which ends the pools'
    )
  }

  // What was not awaited must not go on for somebody who has had their answer. A lone statement finishes by itself,
  // complete or not at all; an open transaction, or a stream that nobody reads on, has nobody left to end it.
  #onScopeClose (): void {
    for (const connection of this.#leases) {
      if (connection.isTransaction || connection.isStreaming || this.#settings.scope.isAborted)
        connection.destroy()
    }
  }
}

const unproved =
  "This tenant's queries are rewritten (isolation row, or rls.filter), and SQL text cannot be proved to stay within the tenant: build the query with request.db"

/** How many connections of a pool may turn out unfit before a statement gives up. */
const maxMoves = 20

/** One borrowed connection, as Kysely sees it. */
export class KyselyConnection implements DatabaseConnection, TextConnection {
  lease: TenantConnection
  readonly #replace: (lost: TenantConnection) => Promise<TenantConnection>
  readonly #scope: WorkScope
  readonly #settings: TenantDriverSettings

  /** @param replace borrows another connection for one that had ended in the pool. */
  constructor (
    connection: TenantConnection,
    settings: TenantDriverSettings,
    replace: (lost: TenantConnection) => Promise<TenantConnection>
  ) {
    this.lease = connection
    this.#replace = replace
    this.#scope = settings.scope
    this.#settings = settings
  }

  async executeQuery<R> (query: CompiledQuery): Promise<QueryResult<R>> {
    this.#scope.assertOpen()
    const statement = this.#statementOf(query)
    try {
      const { rows, command, rowCount } = await this.#run(statement)
      return command === 'SELECT'
        ? { rows: rows as R[] }
        : { rows: rows as R[], numAffectedRows: BigInt(rowCount ?? 0) }
    } catch (error) {
      this.#report(error, statement)
    }
  }

  /** Runs a text that no compiler of ours made, within the tenant's context. */
  async send (query: Query): Promise<Reply> {
    this.#scope.assertOpen()
    try {
      if (this.#settings.statementOf !== undefined) throw new QueryRefusedError(unproved)
      return await this.#logged(query.text, () => this.#run(query), query.values)
    } catch (error) {
      this.#report(error, query)
    }
  }

  async *streamQuery<R> (query: CompiledQuery, chunkSize: number): AsyncIterableIterator<QueryResult<R>> {
    this.#scope.assertOpen()
    const statement = this.#statementOf(query)
    try {
      for await (const rows of this.#chunks(statement, chunkSize)) {
        this.#scope.assertOpen()
        yield { rows: rows as R[] }
      }
    } catch (error) {
      this.#report(error, statement)
    }
  }

  /** For Kysely's abort option `'cancel query'`: ends the connection, and has the server stop what ran on it. */
  async cancelQuery (): Promise<void> {
    // Not pg_cancel_backend: that names a backend and no statement, and could meet the next borrower's.
    this.lease.destroy()
  }

  /** For Kysely's abort option `'kill session'`. */
  async killSession (): Promise<void> {
    this.lease.destroy()
  }

  /** Begins a transaction with the next statement. */
  async begin (characteristics = ''): Promise<void> {
    await this.#logged(`begin${characteristics}`, async () => {
      this.lease.begin(characteristics)
    })
  }

  async commit (): Promise<void> {
    await this.#logged('commit', () => this.lease.commit())
  }

  async rollback (): Promise<void> {
    await this.#logged('rollback', () => this.lease.rollback())
  }

  /** Sends `savepoint` or the like. */
  async control (...texts: readonly string[]): Promise<void> {
    await this.#logged(texts.join('; '), () => this.#onAnother(() => this.lease.control(...texts)))
  }

  // Kysely logs what runs through executeQuery.
  async #logged<T> (sql: string, work: () => Promise<T>, values: readonly unknown[] = []): Promise<T> {
    const { log } = this.#settings
    if (log === undefined) return work()
    const began = performance.now()
    const event = () => ({
      query: CompiledQuery.raw(sql, [...values]),
      queryDurationMillis: performance.now() - began
    })
    let result: T
    try {
      result = await work()
    } catch (error) {
      await log.error(() => ({ level: 'error', error, ...event() }))
      throw error
    }
    await log.query(() => ({ level: 'query', ...event() }))
    return result
  }

  #statementOf (query: CompiledQuery): Query {
    const { statementOf, isHarmless } = this.#settings
    const { text, values } = statementOf === undefined
      ? { text: query.sql, values: query.parameters }
      : statementOf(query)
    return new JudgedStatement(text, values, query, isHarmless)
  }

  #run (statement: Query): Promise<Reply> {
    return this.#onAnother(() => this.lease.run(statement))
  }

  async *#chunks (statement: Query, size: number): AsyncIterableIterator<unknown[]> {
    for (let moves = 0;; moves++) {
      try {
        yield* this.lease.stream(statement, size)
        return
      } catch (error) {
        // The statement did not run, so no portion of it has come.
        await this.#moveFrom(error, moves)
      }
    }
  }

  /** Runs `work`, and repeats it on another connection while the one at hand cannot serve it. */
  async #onAnother<T> (work: () => Promise<T>): Promise<T> {
    for (let moves = 0;; moves++) {
      try {
        return await work()
      } catch (error) {
        await this.#moveFrom(error, moves)
      }
    }
  }

  // Each move closes a connection of the pool, so a few moves meet a new one.
  async #moveFrom (error: unknown, moves: number): Promise<void> {
    if (!neverExecuted(error) || moves === maxMoves) throw error
    this.lease = await this.#replace(this.lease)
  }

  // Not left to whoever catches the error: a breach is news whether the handler lets it through or not.
  #report (error: unknown, { text }: Query): never {
    this.#settings.onFailure?.(text, error)
    if (error instanceof IsolationBreachError) this.#settings.onBreach?.()
    if (isLockoutError(error)) this.#settings.onLockedOut?.()
    throw withCaller(error)
  }
}

/** A statement that is judged when it is sent: it may wait for its turn while the catalog is read anew. */
class JudgedStatement implements Query {
  readonly text: string
  readonly values: readonly unknown[]
  readonly #query: CompiledQuery
  readonly #judge: TenantDriverSettings['isHarmless']

  constructor (
    text: string,
    values: readonly unknown[],
    query: CompiledQuery,
    judge: TenantDriverSettings['isHarmless']
  ) {
    this.text = text
    this.values = values
    this.#query = query
    this.#judge = judge
  }

  get isHarmless (): boolean {
    return this.#judge?.(this.#query) === true
  }
}

/**
 * Adds the caller to the stack of an error that came over the socket, as Kysely's own driver does. V8 knows which async
 * functions wait here, so that only a failure costs a stack.
 */
function withCaller (error: unknown): unknown {
  const callers = new Error().stack
  if (error instanceof Error && error.stack !== undefined && callers !== undefined)
    error.stack += callers.slice(callers.indexOf('\n'))
  return error
}
