import { InternalTypeError } from '@fastify-tenancy/core/errors'
import type { CompiledQuery, DatabaseConnection, Driver, QueryResult, TransactionSettings } from 'kysely'

import type { Reply } from '../connection/batch-end.ts'
import type { Query } from '../connection/tenant-connection.ts'
import type { TextConnection, TextDriver } from '../connection/text-connection.ts'
import { TenantDriver } from './driver.ts'
import type { TenantDriverSettings } from './driver-settings.ts'
import type { KyselyConnection } from './kysely-connection.ts'
import type { UnitOfWork } from './unit-of-work.ts'

/**
 * Kysely's driver for a {@link UnitOfWork}: one connection for all statements, and a savepoint for
 * each transaction.
 */
export class UnitDriver implements Driver, TextDriver {
  readonly #driver: TenantDriver
  readonly #unit: UnitOfWork

  constructor (settings: TenantDriverSettings, unit: UnitOfWork) {
    this.#driver = new TenantDriver(settings)
    this.#unit = unit
  }

  async init (): Promise<void> {}

  async acquireConnection (): Promise<UnitConnection> {
    const driver = this.#driver
    const connection = await this.#unit.connection(
      () => driver.acquireConnection(),
      own => driver.releaseConnection(own)
    )
    return new UnitConnection(connection, this.#unit)
  }

  // Does nothing, because the unit keeps the connection until its end.
  async releaseConnection (): Promise<void> {}

  async beginTransaction (
    connection: UnitConnection,
    { isolationLevel, accessMode }: TransactionSettings
  ): Promise<void> {
    await this.begin(connection, `${isolationLevel ?? ''}${accessMode ?? ''}`)
  }

  async begin (connection: UnitConnection, characteristics: string): Promise<void> {
    if (characteristics !== '') {
      throw new InternalTypeError(
        'this work is one transaction already, so that one inside it takes no isolation level or access mode'
      )
    }
    await this.#unit.beginInner(connection, connection.shared)
  }

  async commitTransaction (connection: UnitConnection): Promise<void> {
    await this.#unit.commitInner(connection, connection.shared)
  }

  async rollbackTransaction (connection: UnitConnection): Promise<void> {
    await this.#unit.rollbackInner(connection, connection.shared)
  }

  async savepoint ({ shared }: UnitConnection, name: string): Promise<void> {
    this.#unit.savepoint(name)
    await this.#driver.savepoint(shared, name)
  }

  async rollbackToSavepoint ({ shared }: UnitConnection, name: string): Promise<void> {
    await this.#driver.rollbackToSavepoint(shared, name)
    this.#unit.undoneTo(name)
  }

  async releaseSavepoint ({ shared }: UnitConnection, name: string): Promise<void> {
    await this.#driver.releaseSavepoint(shared, name)
    this.#unit.released(name)
  }

  async destroy (): Promise<void> {
    await this.#driver.destroy()
  }
}

/**
 * The connection that Kysely acquires from a {@link UnitDriver}. Each statement outside an inner
 * transaction gets its own object, and so does each inner transaction.
 */
class UnitConnection implements DatabaseConnection, TextConnection {
  /** The unit's one connection. */
  readonly shared: KyselyConnection
  readonly #unit: UnitOfWork

  constructor (shared: KyselyConnection, unit: UnitOfWork) {
    this.shared = shared
    this.#unit = unit
  }

  async executeQuery<R> (query: CompiledQuery): Promise<QueryResult<R>> {
    this.#unit.enter(this, query.sql)
    // Awaited here, so that the stack of an error names the callers of this function.
    return await this.shared.executeQuery(query)
  }

  async send (query: Query): Promise<Reply> {
    this.#unit.enter(this, query.text)
    return await this.shared.send(query)
  }

  async *streamQuery<R> (query: CompiledQuery, chunkSize: number): AsyncIterableIterator<QueryResult<R>> {
    this.#unit.enter(this, query.sql)
    yield* this.shared.streamQuery<R>(query, chunkSize)
  }

  async cancelQuery (): Promise<void> {
    await this.shared.cancelQuery()
  }

  async killSession (): Promise<void> {
    await this.shared.killSession()
  }
}
