import { ScopeClosedError, ScopeTransaction, type TenantScope } from '@fastify-tenancy/core'
import type { TransactionSettings } from 'kysely'

import { TenantDriver, type TenantConnection, type TenantDriverSettings } from './driver.ts'

/**
 * All statements of a scope in one transaction, begun by the first of them. A transaction inside it is a savepoint,
 * so that `db.transaction()` keeps its meaning; one at a time, since savepoints nest and do not run side by side.
 */
export class UnitOfWork {
  readonly #scope: TenantScope
  readonly #state: ScopeTransaction
  #connection: Promise<TenantConnection> | undefined
  #finish: ((connection: TenantConnection) => Promise<void>) | undefined

  /** Makes the scope's work one transaction. */
  constructor (scope: TenantScope) {
    this.#scope = scope
    this.#state = new ScopeTransaction()
    scope.transaction = this.#state
  }

  get isOpen (): boolean {
    return this.#state.isOpen && !this.#scope.isClosed
  }

  get isRollbackOnly (): boolean {
    return this.#state.isRollbackOnly
  }

  /**
   * Commits, and then lets the effects that waited for it happen. Nothing was sent where no statement was.
   *
   * @throws FST_TENANCY_DATABASE_UNAVAILABLE when nobody can tell whether it was committed, and Kysely's
   * AbortedTransactionError when a statement had failed and its error was caught: then it was rolled back.
   */
  async commit (): Promise<void> {
    try {
      await this.#end(connection => connection.lease.commit())
    } catch (error) {
      this.#state.rolledBack()
      throw error
    }
    // The reply stands whatever becomes of the cache: what was written is written.
    await this.#state.committed().catch((error: unknown) => this.#scope.log.warn({ err: error }, 'what waited for a commit failed after it'))
  }

  /** Rolls back, and forgets the effects that waited for the commit. */
  async rollback (): Promise<void> {
    this.#state.rolledBack()
    await this.#end(connection => connection.lease.rollback())
  }

  /** The connection of the unit, borrowed at its first use. */
  connection (acquire: () => Promise<TenantConnection>, release: (connection: TenantConnection) => Promise<void>): Promise<TenantConnection> {
    if (!this.isOpen) throw new ScopeClosedError('The transaction of this request has ended: nothing runs after its reply')
    this.#finish = release
    this.#connection ??= acquire().then(connection => {
      connection.lease.begin('')
      return connection
    }, (error: unknown) => {
      this.#connection = undefined
      throw error
    })
    return this.#connection
  }

  async #end (how: (connection: TenantConnection) => Promise<void>): Promise<void> {
    const connection = await this.#connection
    if (connection === undefined) return
    try {
      await how(connection)
    } finally {
      await this.#finish?.(connection)
    }
  }
}

/** The driver of a {@link UnitOfWork}: one connection for everything, and savepoints for transactions. */
export class UnitDriver extends TenantDriver {
  readonly #unit: UnitOfWork
  readonly #savepoints: string[] = []
  #count = 0

  constructor (settings: TenantDriverSettings, unit: UnitOfWork) {
    super(settings)
    this.#unit = unit
  }

  override async acquireConnection (): Promise<TenantConnection> {
    return this.#unit.connection(() => super.acquireConnection(), connection => super.releaseConnection(connection))
  }

  // The connection is the unit's until its end.
  override async releaseConnection (): Promise<void> {}

  override async beginTransaction (connection: TenantConnection, { isolationLevel, accessMode }: TransactionSettings): Promise<void> {
    if (isolationLevel !== undefined || accessMode !== undefined) {
      throw new TypeError('this request is one transaction already, so that one inside it takes no isolation level or access mode')
    }
    const name = `tenancy_${++this.#count}`
    await connection.control(`savepoint ${name}`)
    this.#savepoints.push(name)
  }

  override async commitTransaction (connection: TenantConnection): Promise<void> {
    await connection.control(`release savepoint ${this.#savepoints.pop() ?? ''}`)
  }

  override async rollbackTransaction (connection: TenantConnection): Promise<void> {
    const name = this.#savepoints.pop() ?? ''
    await connection.control(`rollback to savepoint ${name}`)
    await connection.control(`release savepoint ${name}`)
  }
}
