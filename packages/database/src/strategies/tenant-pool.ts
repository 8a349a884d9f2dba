import type pg from 'pg'

import type { Borrower, Lease } from '../connection/lease.ts'
import { closedDatabaseError } from '../connection/fence-error.ts'
import { ConnectionPool } from '../connection/pool.ts'
import { readTenantColumns, Tripwire } from '../connection/tripwire.ts'
import { DatabaseUnavailableError } from '../errors.ts'
import type { ResolvedDatabaseOptions } from '../options.ts'
import { ConnectBreaker } from './connect-breaker.ts'
import { MigrationGate } from './migration-gate.ts'

/** The connections to one tenant's own database. */
export class TenantPool {
  readonly pool: pg.Pool
  readonly #connections: ConnectionPool
  readonly #tripwire: Tripwire
  readonly #hasTripwire: boolean
  readonly #gate: MigrationGate | undefined
  #known: Promise<void> | undefined
  readonly #breaker = new ConnectBreaker()
  #retirement: Promise<void> | undefined

  constructor (pool: pg.Pool, isOwned: boolean, { database: { types, reset, fairness, tripwire, requireMigration }, tables }: ResolvedDatabaseOptions) {
    this.#gate = requireMigration === undefined ? undefined : new MigrationGate(requireMigration)
    this.#hasTripwire = tripwire && Object.keys(tables.tenant).length > 0
    this.pool = pool
    // All of it is one tenant's: nothing is kept for others.
    this.#connections = new ConnectionPool(pool, isOwned, { types, reset }, { ...fairness, share: 1, spare: 0 })
    this.#tripwire = new Tripwire(this.#connections.catalog, (client, only) => readTenantColumns(client, tables, only))
  }

  get isRetired (): boolean {
    return this.#retirement !== undefined
  }

  get waiting (): number {
    return this.#connections.waiting
  }

  /**
   * @throws FST_TENANCY_DATABASE_UNAVAILABLE, at once where the last attempts failed
   * @throws FST_TENANCY_DATABASE_BUSY
   * @throws FST_TENANCY_TENANT_NOT_READY where the tenant is locked out of its database, or that is gone
   */
  async acquire (borrower: Borrower): Promise<Lease> {
    this.#breaker.assertClosed()
    const leave = this.#connections.hold()
    try {
      await this.#readCatalog()
      await this.#gate?.pass(borrower.tenant, '', this.#connections)
      const lease = await this.#connections.acquire(borrower)
      this.#breaker.succeeded()
      return lease
    } catch (error) {
      const closed = closedDatabaseError(error)
      if (closed === undefined && error instanceof DatabaseUnavailableError) this.#breaker.failed()
      throw closed ?? error
    } finally {
      leave()
    }
  }

  // Once for each pool, before its first statement: a URL that leads to another tenant's database shows in the very first row.
  async #readCatalog (): Promise<void> {
    if (!this.#hasTripwire) return
    this.#known ??= this.#tripwire.refresh()
    try {
      await this.#known
    } catch (error) {
      this.#known = undefined
      throw this.#connections.explain(error)
    }
  }

  forgetNames (): void {
    this.#connections.forgetNames()
  }

  /** Stops what a wrong URL would show: rows that say they are another tenant's. */
  guard (tenant: string): ReturnType<Tripwire['guard']> {
    return this.#tripwire.guard(tenant)
  }

  /** Ends the pool when the last borrower and the last of the queue have finished. */
  retire (): Promise<void> {
    this.#retirement ??= this.#connections.retire().catch(() => {})
    return this.#retirement
  }

  /** Ends the pool; who waits is turned away. */
  close (): Promise<void> {
    this.#retirement = this.#connections.close().catch(() => {})
    return this.#retirement
  }
}
