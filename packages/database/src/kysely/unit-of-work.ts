import { channels, ScopeClosedError, type TenantScope } from '@fastify-tenancy/core'
import { ScopeTransaction } from '@fastify-tenancy/core/scope'
import { isServerError } from '@fastify-tenancy/postgres/client'
import { AbortedTransactionError } from 'kysely'

import { readStatementText } from '../connection/statement.ts'
import { QueryRefusedError } from '../options/errors.ts'
import type { KyselyConnection } from './kysely-connection.ts'

/** A transaction inside a unit, which is a savepoint. */
interface Inner {
  readonly name: string
  /** The connection object that Kysely acquired for it. */
  readonly owner: object
  /**
   * How many other statements of the unit wrote while the savepoint was open. A rollback to the
   * savepoint would undo them.
   */
  others: number
  /** The open savepoints of the inner transaction, with the value of `others` when each was set. */
  readonly savepoints: { readonly name: string; readonly others: number }[]
  /** Settles when the savepoint is gone; undefined until its end was requested. */
  ending: Promise<void> | undefined
}

/**
 * Runs all statements of a scope in one transaction, which the first of them begins. A transaction
 * inside it is a savepoint, so that `db.transaction()` keeps its meaning. Only one may be open at a
 * time, because savepoints nest.
 */
export class UnitOfWork {
  readonly #scope: TenantScope
  readonly #state: ScopeTransaction
  #connection: Promise<KyselyConnection> | undefined
  #finish: ((connection: KyselyConnection) => Promise<void>) | undefined
  #isEnding = false
  #inner: Inner | undefined
  #count = 0
  #lost: Error | undefined

  /** Makes the scope's work one transaction. */
  constructor (scope: TenantScope) {
    this.#scope = scope
    this.#state = new ScopeTransaction()
    scope.transaction = this.#state
  }

  /** Whether it still accepts statements. */
  get isOpen (): boolean {
    return !this.#isEnding && this.#state.isOpen && !this.#scope.isClosed
  }

  /** Whether nothing was sent and no effect waits for the commit. */
  get neverExecuted (): boolean {
    return this.#connection === undefined && !this.#state.hasEffects
  }

  get isRollbackOnly (): boolean {
    return this.#state.isRollbackOnly
  }

  /** Makes the unit roll back at its end, whatever the work returns. */
  rollbackOnly (): void {
    this.#state.rollbackOnly()
  }

  /** Ends a unit that sent nothing. It accepts no statement afterwards. */
  leave (): void {
    this.#isEnding = true
    this.#state.rolledBack()
  }

  /**
   * Commits, and then runs the effects that waited for the commit. Sends nothing if no statement
   * ran.
   *
   * @throws FST_TENANCY_DATABASE_UNAVAILABLE if the reply to the commit was lost; Kysely's
   * AbortedTransactionError if PostgreSQL rolled back, because a statement had failed and its error
   * was caught
   */
  async commit (): Promise<void> {
    try {
      await this.#end(connection => this.#commitOn(connection))
    } catch (error) {
      this.#state.rolledBack()
      if (channels.rolledBack.hasSubscribers) channels.rolledBack.publish({ tenant: this.#scope.tenant })
      throw error
    }
    // A failure is only logged, because the transaction is committed already.
    await this.#state.committed().catch((error: unknown) =>
      this.#scope.log.warn({ err: error }, 'what waited for a commit failed after it')
    )
  }

  /** Rolls back, and drops the effects that waited for the commit. */
  async rollback (): Promise<void> {
    this.#state.rolledBack()
    if (this.#connection !== undefined && channels.rolledBack.hasSubscribers)
      channels.rolledBack.publish({ tenant: this.#scope.tenant })
    await this.#end(async connection => {
      // A rollback would wait behind the stream, whose consumer may have stopped reading.
      if (connection.tenantConnection.isStreaming) connection.tenantConnection.destroy()
      else await connection.rollback()
    })
  }

  /** Returns the connection of the unit, which is checked out at the first use. */
  connection (
    acquire: () => Promise<KyselyConnection>,
    release: (connection: KyselyConnection) => Promise<void>
  ): Promise<KyselyConnection> {
    if (!this.isOpen) throw ended()
    this.#finish = release
    this.#connection ??= acquire().then(async connection => {
      await connection.begin()
      return connection
    }, (error: unknown) => {
      this.#connection = undefined
      throw error
    })
    return this.#connection
  }

  /**
   * Checks and records a statement before it runs.
   *
   * @param owner the connection object on which Kysely runs it
   * @throws FST_TENANCY_SCOPE_CLOSED after the unit's end
   */
  enter (owner: object, text: string): void {
    if (!this.isOpen) throw ended()
    const inner = this.#inner
    // True if the statement cannot be lost with the savepoint: it belongs to the inner transaction,
    // or runs after its end.
    if (inner === undefined || inner.owner === owner || inner.ending !== undefined) return
    const { isAllowed, keyword } = readStatementText(text)
    if (isAllowed && !reads.has(keyword)) inner.others++
  }

  /** @throws FST_TENANCY_QUERY_REFUSED while another transaction inside the unit is open */
  async beginInner (owner: object, connection: KyselyConnection): Promise<void> {
    // A client that is released with an open transaction rolls it back. No caller can await that.
    while (this.#inner?.ending !== undefined) await this.#inner.ending.catch(() => {})
    if (!this.isOpen) throw ended()
    if (this.#inner !== undefined) throw new QueryRefusedError(sideBySide)
    const inner = this.#inner = {
      name: `tenancy_${++this.#count}`,
      owner,
      others: 0,
      savepoints: [],
      ending: undefined
    }
    try {
      await connection.control(`savepoint ${inner.name}`)
    } catch (error) {
      this.#inner = undefined
      throw error
    }
  }

  /**
   * @throws Kysely's AbortedTransactionError if it was rolled back, because one of its statements
   * had failed and the error was caught
   */
  async commitInner (owner: object, connection: KyselyConnection): Promise<void> {
    if (!this.isOpen) throw ended()
    await this.#endInner(owner, inner => this.#release(inner, connection))
  }

  /**
   * Rolls back to the inner transaction's savepoint. Does nothing after the unit's end, which
   * rolled back more.
   */
  async rollbackInner (owner: object, connection: KyselyConnection): Promise<void> {
    if (this.isOpen) await this.#endInner(owner, inner => this.#undo(inner, connection))
  }

  /**
   * Records a savepoint that the inner transaction sets.
   *
   * @throws FST_TENANCY_QUERY_REFUSED for a name of the unit's own savepoints. A second savepoint of
   * that name would hide the first, and the rollback of the inner transaction would keep its writes.
   */
  savepoint (name: string): void {
    if (ownName.test(name)) throw new QueryRefusedError(reservedName)
    const inner = this.#inner
    inner?.savepoints.push({ name, others: inner.others })
  }

  /** Records that the inner transaction released its newest savepoint of a name, and later ones. */
  released (name: string): void {
    const savepoints = this.#inner?.savepoints
    const at = savepoints?.findLastIndex(savepoint => savepoint.name === name) ?? -1
    if (at >= 0) savepoints?.splice(at)
  }

  /** Records that the inner transaction rolled back to its newest savepoint of a name. */
  undoneTo (name: string): void {
    const inner = this.#inner
    if (inner === undefined) return
    const at = inner.savepoints.findLastIndex(savepoint => savepoint.name === name)
    if (inner.others > (inner.savepoints[at]?.others ?? 0)) this.#lost = new QueryRefusedError(lostWrites)
    // The savepoint itself stays, and later ones are gone.
    if (at >= 0) inner.savepoints.splice(at + 1)
  }

  async #endInner (owner: object, how: (inner: Inner) => Promise<void>): Promise<void> {
    const inner = this.#inner
    if (inner?.owner !== owner || inner.ending !== undefined) return
    inner.ending = how(inner).finally(() => {
      this.#inner = undefined
    })
    await inner.ending
  }

  async #release (inner: Inner, connection: KyselyConnection): Promise<void> {
    try {
      await connection.control(`release savepoint ${inner.name}`)
    } catch (error) {
      // 25P02: the transaction is aborted. Fail as a commit does that PostgreSQL answers with
      // ROLLBACK.
      if (!isServerError(error) || error.code !== '25P02') throw error
      await this.#undo(inner, connection)
      throw new AbortedTransactionError()
    }
  }

  async #undo (inner: Inner, connection: KyselyConnection): Promise<void> {
    await connection.control(`rollback to savepoint ${inner.name}`, `release savepoint ${inner.name}`)
    if (inner.others > 0) this.#lost = new QueryRefusedError(lostWrites)
  }

  async #commitOn (connection: KyselyConnection): Promise<void> {
    const { tenantConnection } = connection
    if (tenantConnection.isStreaming) {
      tenantConnection.destroy()
      throw new ScopeClosedError(stillReading)
    }
    const inner = this.#inner
    if (inner !== undefined && inner.others > 0) this.#lost = new QueryRefusedError(lostWrites)
    if (this.#lost !== undefined) {
      await connection.rollback()
      throw this.#lost
    }
    if (inner !== undefined) await connection.control(`rollback to savepoint ${inner.name}`)
    await connection.commit()
  }

  async #end (how: (connection: KyselyConnection) => Promise<void>): Promise<void> {
    this.#isEnding = true
    const connection = await this.#connection
    if (connection === undefined) return
    try {
      await this.#inner?.ending?.catch(() => {})
      await how(connection)
    } finally {
      await this.#finish?.(connection)
    }
  }
}

const reads: ReadonlySet<string> = new Set(['SELECT', 'VALUES', 'TABLE'])

/** The names of the unit's own savepoints. */
const ownName = /^tenancy_\d+$/
const reservedName =
  "A savepoint of a request's transaction must not be named tenancy_<number>, which are the names of its " +
  'inner transactions: choose another name'

const sideBySide =
  'This work is one transaction, and a transaction inside it is still open: await the first one ' +
  'before you begin the next. Savepoints nest, and cannot run side by side'
const lostWrites =
  'This work is one transaction, and was rolled back: a statement wrote through its handle while a ' +
  'transaction inside it was open, which was not committed. ' +
  "Write through the inner transaction's own handle, or await that transaction first"
const stillReading =
  'The transaction of this request was rolled back, because rows were still being read in it when it ' +
  'was to be committed, which is before the first byte of the reply. ' +
  'Read all rows before you reply, or use a route without config.tenancy.transaction'

function ended (): Error {
  return new ScopeClosedError(
    'The transaction of this work has ended: it is committed before the first byte of the reply. ' +
      'A stream that needs the database later must use a route without config.tenancy.transaction, ' +
      'or request.tenancy.detach()'
  )
}
