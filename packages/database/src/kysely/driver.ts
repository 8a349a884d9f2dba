import { channels, ScopeClosedError } from '@fastify-tenancy/core'
import { InternalError } from '@fastify-tenancy/core/errors'
import { validateTransactionSettings, type Driver, type TransactionSettings } from 'kysely'
import pg from 'pg'

import { isLockoutError } from '../connection/lockout-error.ts'
import type { TenantConnection } from '../connection/tenant-connection.ts'
import type { TextDriver } from '../connection/text-connection.ts'
import type { TenantDriverSettings } from './driver-settings.ts'
import { KyselyConnection } from './kysely-connection.ts'

/**
 * Kysely's driver for one scope. Each of its connections acts for the scope's tenant, and none is
 * kept after the scope.
 */
export class TenantDriver implements Driver, TextDriver {
  readonly #settings: TenantDriverSettings
  readonly #checkedOut = new Set<TenantConnection>()

  constructor (settings: TenantDriverSettings) {
    this.#settings = settings
    settings.scope.onClose(() => this.#onScopeClose())
  }

  async init (): Promise<void> {}

  async acquireConnection (): Promise<KyselyConnection> {
    const began = channels.query.hasSubscribers ? performance.now() : undefined
    const connection = await this.#checkOut()
    const wait = began === undefined ? 0 : performance.now() - began
    return new KyselyConnection(connection, this.#settings, lost => this.#replace(lost), wait)
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
    this.#checkedOut.add(connection)
    scope.enter?.()
    return connection
  }

  #forget (connection: TenantConnection): void {
    if (this.#checkedOut.delete(connection)) this.#settings.scope.leave?.()
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
    connection.tenantConnection.release()
    this.#forget(connection.tenantConnection)
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

  // A lone statement that was not awaited ends by itself, complete or not at all. An open
  // transaction or an abandoned stream would stay open, because its request was answered. So
  // destroy the connection.
  #onScopeClose (): void {
    for (const connection of this.#checkedOut) {
      if (connection.isTransaction || connection.isStreaming || this.#settings.scope.isAborted)
        connection.destroy()
    }
  }
}
