import { rowDecoder } from '@fastify-tenancy/postgres/client'
import { AbortedTransactionError } from 'kysely'
import { EventEmitter } from 'node:events'
import pg from 'pg'

import { readStatementText } from '../connection/statement.ts'
import type { TextConnection, TextDriver } from '../connection/text-connection.ts'
import { QueryRefusedError } from '../options/errors.ts'
import { answer, readQueryArguments, type PgQuery } from './arguments.ts'
import { ControlError, readControl, tagOf, type Control } from './control.ts'

/** The parts that the clients of one pool share. */
export interface ClientParts {
  readonly driver: TextDriver
  /** The type parsers of `options.database.types`. */
  readonly types: pg.CustomTypesConfig | undefined
  readonly assertOpen: () => void
}

/**
 * A client of a tenant's `pg` pool, with the methods of `pg.PoolClient`. The driver runs
 * transaction control. Every other text runs like a statement of `request.db`, with the tenant's
 * context before it.
 */
export class TenantPgClient extends EventEmitter {
  readonly #parts: ClientParts
  readonly #connection: TextConnection
  readonly #onRelease: (client: TenantPgClient) => void
  readonly #names = new Map<string, string>()
  #types: TypeParsers | undefined
  #isBegun = false
  /** Whether a statement of the transaction was refused here, where PostgreSQL did not see it. */
  #isFailed = false
  /**
   * The characteristics of a transaction that ran no statement yet; undefined after the first
   * statement.
   */
  #modes: string | undefined
  #isReleased = false
  // Queries run one after the other, as in pg.
  #last: Promise<unknown> = Promise.resolve()

  constructor (connection: TextConnection, parts: ClientParts, onRelease: (client: TenantPgClient) => void) {
    super()
    this.#parts = parts
    this.#connection = connection
    this.#onRelease = onRelease
  }

  /**
   * Runs one statement. The arguments are those of `pg`:
   * `query(text | config, values?, callback?)`.
   */
  query (config: unknown, values?: unknown, callback?: unknown): Promise<pg.QueryResult> | undefined {
    if (config === null || config === undefined)
      throw new TypeError('Client was passed a null or undefined query')
    const call = readQueryArguments(config, values, callback)
    const work = this.#last.then(() => this.#run(call.read()))
    this.#last = work.catch(() => {})
    return answer(work, call.callback)
  }

  /**
   * Returns the connection. If a transaction is open, it is rolled back and the connection closed.
   */
  readonly release = (_error?: unknown): void => {
    if (this.#isReleased)
      throw new Error('Release called on client which has already been released to the pool.')
    this.#isReleased = true
    this.#onRelease(this)
    void this.#giveBack()
  }

  /** Returns the connection once its statement has ended, because the scope has closed. */
  finish (): void {
    if (this.#isReleased) return
    this.#isReleased = true
    void this.#last.then(() => this.#giveBack())
  }

  async connect (): Promise<never> {
    throw new Error('Client has already been connected. You cannot reuse a client.')
  }

  async end (): Promise<never> {
    throw new Error('request.tenancy.pg belongs to its request: release() a client, and close the app')
  }

  /** Sets a type parser for this client alone. */
  setTypeParser (oid: number, format: unknown, parse?: unknown): void {
    this.#ownTypes.setTypeParser(oid, format, parse)
  }

  getTypeParser (oid: number, format?: unknown): unknown {
    return this.#ownTypes.getTypeParser(oid, format)
  }

  escapeIdentifier (name: string): string {
    return pg.escapeIdentifier(name)
  }

  escapeLiteral (text: string): string {
    return pg.escapeLiteral(text)
  }

  get #ownTypes (): TypeParsers {
    return this.#types ??= new TypeOverrides(this.#parts.types)
  }

  async #giveBack (): Promise<void> {
    const { driver } = this.#parts
    // If the request is one transaction, this transaction is a savepoint and would stay open.
    if (this.#isBegun) await driver.rollbackTransaction(this.#connection).catch(() => {})
    await driver.releaseConnection(this.#connection)
  }

  async #run (query: PgQuery): Promise<pg.QueryResult> {
    this.#parts.assertOpen()
    if (this.#isReleased) throw new Error('Client was released to the pool and takes no more queries.')
    const text = this.#textOf(query)
    const control = readControl(text)
    try {
      if (this.#isFailed && control?.kind !== 'commit' && !control?.kind.startsWith('rollback'))
        throw new ControlError(abortedAlready, '25P02')
      return await (control === undefined
        ? this.#send(query, text)
        : this.#control(control, readStatementText(text).keyword))
    } catch (error) {
      // PostgreSQL aborts a transaction in which a statement failed. Otherwise a caller that ignores
      // this error would commit half of its work.
      this.#isFailed = this.#isBegun && (this.#isFailed || isOurs(error))
      throw error
    }
  }

  async #send (query: PgQuery, text: string): Promise<pg.QueryResult> {
    this.#modes = undefined
    const { values, rowMode, types = this.#types } = query
    const { result } = await this.#connection.send({ text, values, rowMode, types })
    return result as unknown as pg.QueryResult
  }

  /**
   * Returns the text of a query. Callers of pg pass the text of a named query only the first time.
   */
  #textOf ({ name, text }: PgQuery): string {
    if (name === undefined) return text
    const known = this.#names.get(name)
    if (known !== undefined && text !== '' && known !== text)
      throw new Error(
        `Prepared statements must be unique - '${name}' was used for a different statement`
      )
    if (known === undefined && text !== '') this.#names.set(name, text)
    return known ?? text
  }

  async #control (control: Control, keyword: string): Promise<pg.QueryResult> {
    let tag = tagOf(control, keyword)
    switch (control.kind) {
      case 'begin':
        await this.#begin(control.modes)
        break
      case 'modes':
        await this.#setModes(control.modes)
        break
      case 'commit':
        if (!await this.#commit()) tag = 'ROLLBACK'
        break
      case 'rollback':
        await this.#rollback()
        break
      default:
        await this.#savepoint(control.kind, control.name)
    }
    const result = rowDecoder(this.#types ?? this.#parts.types)
    result.addCommandComplete({ text: tag })
    return result as unknown as pg.QueryResult
  }

  // Like PostgreSQL, which continues the open transaction after a second begin (with a warning).
  async #begin (modes: string): Promise<void> {
    if (this.#isBegun) return
    // Set first, so that a release() in between rolls it back.
    this.#isBegun = true
    this.#modes = modes
    try {
      await this.#parts.driver.begin(this.#connection, modes)
    } catch (error) {
      this.#isBegun = false
      throw error
    }
  }

  // Prisma and Drizzle set the isolation level after `begin`. The driver has not sent `begin` then,
  // so it can still be changed.
  async #setModes (modes: string): Promise<void> {
    if (!this.#isBegun) return
    if (this.#modes === undefined)
      throw new ControlError('SET TRANSACTION ISOLATION LEVEL must be called before any query', '25001')
    this.#modes = `${this.#modes} ${modes}`.trim()
    await this.#parts.driver.begin(this.#connection, this.#modes)
  }

  /**
   * Ends the transaction and returns whether it was committed. Like PostgreSQL, it rolls back if a
   * statement had failed.
   */
  async #commit (): Promise<boolean> {
    if (!this.#isBegun) return true
    if (this.#isFailed) {
      await this.#rollback()
      return false
    }
    this.#isBegun = false
    try {
      await this.#parts.driver.commitTransaction(this.#connection)
      return true
    } catch (error) {
      if (error instanceof AbortedTransactionError) return false
      throw error
    }
  }

  async #rollback (): Promise<void> {
    if (!this.#isBegun) return
    this.#isBegun = this.#isFailed = false
    await this.#parts.driver.rollbackTransaction(this.#connection)
  }

  async #savepoint (kind: 'savepoint' | 'release' | 'rollback to', name: string): Promise<void> {
    const { driver } = this.#parts
    if (!this.#isBegun)
      throw new ControlError(`${tags[kind]} can only be used in transaction blocks`, '25P01')
    this.#modes = undefined
    if (kind === 'savepoint') await driver.savepoint(this.#connection, name)
    else if (kind === 'release') await driver.releaseSavepoint(this.#connection, name)
    else {
      await driver.rollbackToSavepoint(this.#connection, name)
      this.#isFailed = false
    }
  }
}

const abortedAlready = 'current transaction is aborted, commands ignored until end of transaction block'

// A statement that was refused before it was sent, or control that PostgreSQL would have refused.
function isOurs (error: unknown): boolean {
  return error instanceof QueryRefusedError || error instanceof ControlError
}

const tags = {
  savepoint: 'SAVEPOINT',
  release: 'RELEASE SAVEPOINT',
  'rollback to': 'ROLLBACK TO SAVEPOINT'
} as const

interface TypeParsers extends pg.CustomTypesConfig {
  setTypeParser(oid: number, format: unknown, parse?: unknown): void
  getTypeParser(oid: number, format?: unknown): never
}

const { TypeOverrides } = pg as unknown as {
  readonly TypeOverrides: new(types: pg.CustomTypesConfig | undefined) => TypeParsers
}
