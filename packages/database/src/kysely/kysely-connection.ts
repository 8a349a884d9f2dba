import { channels } from '@fastify-tenancy/core'
import { CompiledQuery, type DatabaseConnection, type QueryResult } from 'kysely'

import type { Reply } from '../connection/batch-end.ts'
import { isLockoutError } from '../connection/lockout-error.ts'
import { neverExecuted } from '../connection/retry.ts'
import type { Query, TenantConnection } from '../connection/tenant-connection.ts'
import type { TextConnection } from '../connection/text-connection.ts'
import { IsolationBreachError, QueryRefusedError } from '../options/errors.ts'
import type { TenantDriverSettings, WorkScope } from './driver-settings.ts'
import { traceChunks, traceQuery, type Traced } from './trace-query.ts'

const unproved =
  "This tenant's queries are rewritten (isolation row, or rls.filter), and SQL text cannot be proved " +
  'to stay within the tenant: build the query with request.db'

/** How many times one statement is moved to another connection before it fails. */
const maxMoves = 20

/** A checked-out connection with Kysely's interface. */
export class KyselyConnection implements DatabaseConnection, TextConnection {
  tenantConnection: TenantConnection
  readonly #replace: (lost: TenantConnection) => Promise<TenantConnection>
  readonly #scope: WorkScope
  readonly #settings: TenantDriverSettings
  /**
   * Milliseconds that the caller waited for the connection. The event of the first statement
   * contains them.
   */
  #wait: number

  /** @param replace checks out another connection in place of one that ended in the pool */
  constructor (
    connection: TenantConnection,
    settings: TenantDriverSettings,
    replace: (lost: TenantConnection) => Promise<TenantConnection>,
    wait = 0
  ) {
    this.tenantConnection = connection
    this.#wait = wait
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

  /** Runs a text that no compiler of the suite made, in the tenant's context. */
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
      const chunks = traceChunks(this.#traced(statement.text), () => this.#chunks(statement, chunkSize))
      for await (const rows of chunks) {
        this.#scope.assertOpen()
        yield { rows: rows as R[] }
      }
    } catch (error) {
      this.#report(error, statement)
    }
  }

  /**
   * Ends the connection and stops its statement on the server, for Kysely's abort option
   * `'cancel query'`.
   */
  async cancelQuery (): Promise<void> {
    // Not pg_cancel_backend, which names a backend instead of a statement and could cancel the next
    // owner's statement.
    this.tenantConnection.destroy()
  }

  /** Ends the connection, for Kysely's abort option `'kill session'`. */
  async killSession (): Promise<void> {
    this.tenantConnection.destroy()
  }

  /** Begins a transaction. `begin` is sent with the next statement. */
  async begin (characteristics = ''): Promise<void> {
    await this.#logged(`begin${characteristics}`, async () => {
      this.tenantConnection.begin(characteristics)
    })
  }

  async commit (): Promise<void> {
    await this.#controlled('commit', () => this.tenantConnection.commit())
  }

  async rollback (): Promise<void> {
    await this.#controlled('rollback', () => this.tenantConnection.rollback())
  }

  /** Sends `savepoint`, `release savepoint` or `rollback to savepoint`. */
  async control (...texts: readonly string[]): Promise<void> {
    await this.#controlled(
      texts.join('; '),
      () => this.#onAnother(() => this.tenantConnection.control(...texts))
    )
  }

  #controlled (text: string, work: () => Promise<void>): Promise<void> {
    if (!channels.query.hasSubscribers) return this.#logged(text, work)
    return this.#logged(text, () => traceQuery(this.#traced(text), work, () => 0))
  }

  #traced (text: string): Traced {
    const wait = this.#wait
    this.#wait = 0
    return { tenant: this.#settings.tenant, text, wait }
  }

  // Logs statements that do not go through executeQuery, which Kysely logs itself.
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
    const work = (): Promise<Reply> => this.#onAnother(() => this.tenantConnection.run(statement))
    // Checked first, so that no event is built without subscribers.
    if (!channels.query.hasSubscribers) return work()
    return traceQuery(this.#traced(statement.text), work, ({ rowCount, rows }) => rowCount ?? rows.length)
  }

  async *#chunks (statement: Query, size: number): AsyncIterableIterator<unknown[]> {
    for (let moves = 0;; moves++) {
      try {
        yield* this.tenantConnection.stream(statement, size)
        return
      } catch (error) {
        // Safe to repeat: the statement did not run, so no chunk of it was yielded.
        await this.#moveFrom(error, moves)
      }
    }
  }

  /** Runs `work`, and repeats it on another connection while the current one cannot serve it. */
  async #onAnother<T> (work: () => Promise<T>): Promise<T> {
    for (let moves = 0;; moves++) {
      try {
        return await work()
      } catch (error) {
        await this.#moveFrom(error, moves)
      }
    }
  }

  // Each move closes a connection of the pool, so after a few moves the pool opens a new one.
  async #moveFrom (error: unknown, moves: number): Promise<void> {
    if (!neverExecuted(error) || moves === maxMoves || this.#scope.isClosed) throw error
    this.tenantConnection = await this.#replace(this.tenantConnection)
  }

  // Reported here, because a handler may catch the error, and a breach must be reported in any
  // case.
  #report (error: unknown, { text }: Query): never {
    this.#settings.onFailure?.(text, error)
    const { tenant } = this.#settings
    if (tenant !== undefined && channels.queryRefused.hasSubscribers && error instanceof QueryRefusedError)
      channels.queryRefused.publish({ tenant, text, reason: (error as Error).message })
    if (error instanceof IsolationBreachError) this.#settings.onBreach?.()
    if (isLockoutError(error)) this.#settings.onLockedOut?.()
    throw withCaller(error)
  }
}

/**
 * A statement that is judged when it is sent, because it may wait in a queue while the catalog is
 * read again.
 */
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
 * Adds the caller to the stack of an error that came over the socket, as Kysely's driver does. V8
 * tracks the waiting async functions, so only a failure pays for a stack.
 */
function withCaller (error: unknown): unknown {
  const callers = new Error().stack
  if (error instanceof Error && error.stack !== undefined && callers !== undefined)
    error.stack += callers.slice(callers.indexOf('\n'))
  return error
}
