import { ScopeClosedError, ScopeTransaction, type TenantScope } from '@fastify-tenancy/core'
import { isServerError } from '@fastify-tenancy/postgres/client'
import { AbortedTransactionError } from 'kysely'

import { readStatementText } from '../connection/statement.ts'
import { QueryRefusedError } from '../options/errors.ts'
import type { KyselyConnection } from './driver.ts'

/** A transaction inside a unit: a savepoint. */
interface Inner {
  readonly name: string
  /** The connection object that Kysely acquired for it. */
  readonly owner: object
  /** Whether another statement of the unit wrote while it was open: it would be lost with the savepoint. */
  hasOthers: boolean
  /** Settled when the savepoint is gone; undefined before its end was asked for. */
  ending: Promise<void> | undefined
}

/**
 * All statements of a scope in one transaction, begun by the first of them. A transaction inside it is a
 * savepoint, so that `db.transaction()` keeps its meaning. Only one may be open at a time, because
 * savepoints nest.
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

  /** Whether it still takes statements. */
  get isOpen (): boolean {
    return !this.#isEnding && this.#state.isOpen && !this.#scope.isClosed
  }

  /** Whether nothing was sent, and nothing waits for the commit. */
  get neverExecuted (): boolean {
    return this.#connection === undefined && !this.#state.hasEffects
  }

  get isRollbackOnly (): boolean {
    return this.#state.isRollbackOnly
  }

  /** Has its end roll back, whatever the work answers. */
  rollbackOnly (): void {
    this.#state.rollbackOnly()
  }

  /** Ends a unit that is untouched: it takes no statement after this. */
  leave (): void {
    this.#isEnding = true
    this.#state.rolledBack()
  }

  /**
   * Commits, and then lets the effects that waited for it happen. Nothing is sent where no statement was.
   *
   * @throws FST_TENANCY_DATABASE_UNAVAILABLE if the answer to the commit was lost; Kysely's
   * AbortedTransactionError if a statement had failed and its error was caught. PostgreSQL rolled back
   * then.
   */
  async commit (): Promise<void> {
    try {
      await this.#end(connection => this.#commitOn(connection))
    } catch (error) {
      this.#state.rolledBack()
      throw error
    }
    // The reply stands whatever becomes of the cache: what was written is written.
    await this.#state.committed().catch((error: unknown) =>
      this.#scope.log.warn({ err: error }, 'what waited for a commit failed after it')
    )
  }

  /** Rolls back, and forgets the effects that waited for the commit. */
  async rollback (): Promise<void> {
    this.#state.rolledBack()
    await this.#end(async connection => {
      // A rollback would wait behind a stream, which may wait for a reader that is gone.
      if (connection.lease.isStreaming) connection.lease.destroy()
      else await connection.rollback()
    })
  }

  /** The connection of the unit, borrowed at its first use. */
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
   * Called before each statement.
   *
   * @param owner the connection object that Kysely runs it on
   * @throws FST_TENANCY_SCOPE_CLOSED after the unit's end
   */
  enter (owner: object, text: string): void {
    if (!this.isOpen) throw ended()
    const inner = this.#inner
    // A statement behind the end of the inner transaction runs after it, and a refused one does not run.
    if (inner === undefined || inner.owner === owner || inner.ending !== undefined) return
    const { isAllowed, keyword } = readStatementText(text)
    if (isAllowed && !reads.has(keyword)) inner.hasOthers = true
  }

  /** @throws FST_TENANCY_QUERY_REFUSED while another transaction inside the unit is open */
  async beginInner (owner: object, connection: KyselyConnection): Promise<void> {
    if (!this.isOpen) throw ended()
    if (this.#inner !== undefined) throw new QueryRefusedError(sideBySide)
    const inner = this.#inner = {
      name: `tenancy_${++this.#count}`,
      owner,
      hasOthers: false,
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
   * @throws Kysely's AbortedTransactionError if a statement of it had failed, and its error was caught: it
   * is rolled back
   */
  async commitInner (owner: object, connection: KyselyConnection): Promise<void> {
    if (!this.isOpen) throw ended()
    await this.#endInner(owner, inner => this.#release(inner, connection))
  }

  /** Rolls back to its savepoint. Does nothing after the end of the unit, which has rolled back more. */
  async rollbackInner (owner: object, connection: KyselyConnection): Promise<void> {
    if (this.isOpen) await this.#endInner(owner, inner => this.#undo(inner, connection))
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
      // 25P02: the transaction is aborted. PostgreSQL answers a commit of a whole one with ROLLBACK.
      if (!isServerError(error) || error.code !== '25P02') throw error
      await this.#undo(inner, connection)
      throw new AbortedTransactionError()
    }
  }

  async #undo (inner: Inner, connection: KyselyConnection): Promise<void> {
    await connection.control(`rollback to savepoint ${inner.name}`, `release savepoint ${inner.name}`)
    if (inner.hasOthers) this.#lost = new QueryRefusedError(lostWrites)
  }

  async #commitOn (connection: KyselyConnection): Promise<void> {
    const { lease } = connection
    if (lease.isStreaming) {
      lease.destroy()
      throw new ScopeClosedError(stillReading)
    }
    const inner = this.#inner
    if (inner?.hasOthers) this.#lost = new QueryRefusedError(lostWrites)
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

const sideBySide =
  'This work is one transaction, and a transaction inside it is still open: await the first one before you begin the next. Savepoints nest, and cannot run side by side'
const lostWrites =
  "This work is one transaction, and was rolled back: a statement wrote through its handle while a transaction inside it was open, which was not committed. Write through the inner transaction's own handle, or await that transaction first"
const stillReading =
  'The transaction of this request was rolled back, because rows were still being read in it when it was to be committed, which is before the first byte of the reply. Read all rows before you reply, or use a route without config.tenancy.transaction'

function ended (): Error {
  return new ScopeClosedError(
    'The transaction of this work has ended: it is committed before the first byte of the reply. A stream that needs the database later must use a route without config.tenancy.transaction, or request.tenancy.detach()'
  )
}
