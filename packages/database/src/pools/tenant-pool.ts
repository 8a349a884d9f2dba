import { DatabaseUnavailableError } from '@fastify-tenancy/postgres'
import { isEmbeddedPool } from '@fastify-tenancy/postgres/client'
import type pg from 'pg'

import { Session } from '../connection/connection-state.ts'
import { closedDatabaseError } from '../connection/lockout-error.ts'
import { ConnectionPool } from '../connection/pool.ts'
import { readTenantColumns } from '../connection/tenant-columns.ts'
import type { ConnectionOwner, TenantConnection } from '../connection/tenant-connection.ts'
import { Tripwire } from '../connection/tripwire.ts'
import { HarmlessCatalog } from '../harmless/catalog.ts'
import type { Judge } from '../harmless/judge.ts'
import type { ResolvedDatabaseOptions } from '../options/options.ts'
import { ConnectBreaker } from './connect-breaker.ts'
import { MigrationGate } from './migration-gate.ts'

/** The connections to one tenant's own database. */
export class TenantPool {
  readonly pool: pg.Pool
  readonly #connections: ConnectionPool
  readonly #tripwire: Tripwire
  readonly #hasTripwire: boolean
  readonly #harmless: HarmlessCatalog
  readonly #gate: MigrationGate | undefined
  #known: Promise<void> | undefined
  readonly #breaker = new ConnectBreaker()
  #retirement: Promise<void> | undefined

  /**
   * @param extensions the schemas of extensions that are on the path of the tenant's statements.
   */
  constructor (
    pool: pg.Pool,
    isOwned: boolean,
    options: ResolvedDatabaseOptions,
    extensions: () => readonly string[]
  ) {
    const { database: { types, reset, fairness, tripwire, requireMigration }, tables } = options
    this.#gate = requireMigration === undefined ? undefined : new MigrationGate(requireMigration)
    this.#hasTripwire = tripwire && Object.keys(tables.tenant).length > 0
    this.pool = pool
    // All of it is one tenant's: nothing is kept for others.
    this.#connections = new ConnectionPool(pool, isOwned, { types, reset }, {
      ...fairness,
      share: 1,
      spare: 0
    })
    this.#harmless = new HarmlessCatalog(this.#connections, {
      schema: tables.schema,
      tables: () => undefined,
      ownPolicies: async () => new Set(),
      functions: [],
      others: extensions,
      hasEpoch: () => false
    })
    this.#connections.onCatalogChanged = () => this.#harmless.expire()
    this.#tripwire = new Tripwire(
      this.#connections.catalog,
      (client, only) => readTenantColumns(client, tables, only)
    )
  }

  /** Judges the tenant's statements. The catalog is read when the first of them asks. */
  get judge (): Judge {
    return this.#harmless.judge
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
   * @throws FST_TENANCY_TENANT_NOT_READY where the tenant is locked out of its database, or that is
   * gone
   */
  async acquire (owner: ConnectionOwner): Promise<TenantConnection> {
    this.#breaker.assertClosed()
    const leave = this.#connections.hold()
    try {
      await this.#learn()
      await this.#gate?.pass(owner.tenant, '', this.#connections)
      const connection = await this.#connections.acquire(owner)
      this.#breaker.succeeded()
      return connection
    } catch (error) {
      const closed = closedDatabaseError(error)
      if (closed === undefined && error instanceof DatabaseUnavailableError) this.#breaker.failed()
      throw closed ?? error
    } finally {
      leave()
    }
  }

  // Once for each pool, before its first statement.
  async #learn (): Promise<void> {
    this.#known ??= this.#look()
    try {
      await this.#known
    } catch (error) {
      this.#known = undefined
      throw this.#connections.explain(error)
    }
  }

  async #look (): Promise<void> {
    if (!isEmbeddedPool(this.pool)) await this.#probePooler()
    // A URL that leads to another tenant's database shows in the very first row.
    if (this.#hasTripwire) await this.#tripwire.refresh()
  }

  // Behind a pooler the backend changes from one transaction to the next: a statement goes unnamed
  // there, and undoes what it leaves.
  async #probePooler (): Promise<void> {
    const client = await this.pool.connect()
    let isClean = false
    try {
      const { rows: [row] } = await client.query<{ pid: number }>('select pg_catalog.pg_backend_pid() as pid')
      const session = Session.of(client)
      if (row?.pid !== session.client.processID) this.#connections.becomePooled()
      session.claim()
      isClean = true
    } finally {
      client.release(!isClean)
    }
  }

  dropPreparedNames (): void {
    this.#connections.dropPreparedNames()
    this.#harmless.expire()
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
