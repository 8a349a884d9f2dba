import { DatabaseUnavailableError } from '@fastify-tenancy/postgres'
import { isEmbeddedPool } from '@fastify-tenancy/postgres/client'
import type pg from 'pg'

import { ConnectionState } from '../connection/connection-state.ts'
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
   * @param extensions returns the schemas of extensions in the search path of the tenant's
   * statements
   */
  constructor (
    pool: pg.Pool,
    isOwned: boolean,
    options: ResolvedDatabaseOptions,
    extensions: () => readonly string[]
  ) {
    const { database: { types, reset, fairness, tripwire, tagStatements, requireMigration }, tables } =
      options
    this.#gate = requireMigration === undefined ? undefined : new MigrationGate(requireMigration)
    this.#hasTripwire = tripwire && Object.keys(tables.tenant).length > 0
    this.pool = pool
    // The only tenant may use every slot, because no other tenant uses this pool.
    this.#connections = new ConnectionPool(pool, isOwned, { types, reset, isTagged: tagStatements }, {
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

  /** Returns the judge of the tenant's statements. It reads the catalog at the first statement. */
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
   * Checks out a connection for the tenant.
   *
   * @throws FST_TENANCY_DATABASE_UNAVAILABLE, immediately if the last attempts failed
   * @throws FST_TENANCY_DATABASE_BUSY
   * @throws FST_TENANCY_TENANT_NOT_READY if the tenant's database locks it out or was dropped
   */
  async acquire (owner: ConnectionOwner): Promise<TenantConnection> {
    this.#breaker.assertClosed()
    const leave = this.#connections.hold()
    try {
      await this.#inspectOnce()
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

  // Inspects the database once per pool, before the first statement.
  async #inspectOnce (): Promise<void> {
    this.#known ??= this.#inspect()
    try {
      await this.#known
    } catch (error) {
      this.#known = undefined
      throw this.#connections.explain(error)
    }
  }

  async #inspect (): Promise<void> {
    if (!isEmbeddedPool(this.pool)) await this.#probePooler()
    // Before the first statement, so that a URL of another tenant's database is detected at the
    // first row.
    if (this.#hasTripwire) await this.#tripwire.refresh()
  }

  // Behind a pooler the backend may change with each transaction. Statements are then unnamed, and
  // undo their changes to the session.
  async #probePooler (): Promise<void> {
    const client = await this.pool.connect()
    let isClean = false
    try {
      const { rows: [row] } = await client.query<{ pid: number }>('select pg_catalog.pg_backend_pid() as pid')
      const state = ConnectionState.of(client)
      if (row?.pid !== state.client.processID) this.#connections.becomePooled()
      state.leaveClean()
      isClean = true
    } finally {
      client.release(!isClean)
    }
  }

  dropPreparedNames (): void {
    this.#connections.dropPreparedNames()
    this.#harmless.expire()
  }

  /** Returns the guard that stops rows of another tenant, which a wrong URL would return. */
  guard (tenant: string): ReturnType<Tripwire['guard']> {
    return this.#tripwire.guard(tenant)
  }

  /** Ends the pool when its last user and the last waiting caller have finished. */
  retire (): Promise<void> {
    this.#retirement ??= this.#connections.retire().catch(() => {})
    return this.#retirement
  }

  /** Ends the pool and rejects waiting callers. */
  close (): Promise<void> {
    this.#retirement = this.#connections.close().catch(() => {})
    return this.#retirement
  }
}
