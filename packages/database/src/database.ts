import type { ResolvedRouteTenancy, ScopeLogger, Tenant, TenantRegistry,
  TenantScope } from '@fastify-tenancy/core'
import { defaultPoolSettings, isEmbedded, isEmbeddedPool, onEmbeddedChange, openPool,
  type SqlClient } from '@fastify-tenancy/postgres/client'
import type { Level, LevelReport } from '@fastify-tenancy/postgres/doctor'
import { readInstallation } from '@fastify-tenancy/postgres/install'
import { canListen, openListener, postgresRegistry, TableRegistry } from '@fastify-tenancy/postgres/registry'
import { listTables, readViewsOver, type ResolvedTables } from '@fastify-tenancy/postgres/tables'
import { Log } from 'kysely'
import type pg from 'pg'

import { overall, type DatabaseHealth } from './health/database-health.ts'
import { Pulses } from './health/pulses.ts'
import { TenantDialect } from './kysely/dialect.ts'
import { TenantDriver } from './kysely/driver.ts'
import { TenantHandle } from './kysely/handle.ts'
import { UnitDriver } from './kysely/unit-driver.ts'
import { UnitOfWork } from './kysely/unit-of-work.ts'
import { reportBreach } from './observe/breach.ts'
import { observePool } from './observe/observe-pool.ts'
import { ObservedQueries, type ObservedQuery } from './observe/observed-queries.ts'
import type { ResolvedDatabaseOptions } from './options/options.ts'
import type { GlobalKysely, RequestDatabase, TenantKysely } from './options/types.ts'
import { TenantPgPool } from './pg/pool.ts'
import { assertAllowed, warningsOf, withTenants } from './routing/boot-report.ts'
import type { RouteCompiler } from './routing/tenant-route.ts'
import { TenantRouter } from './routing/tenant-router.ts'
import type { SystemAccessOptions, SystemWork } from './system/access.ts'
import { System } from './system/system.ts'

const handleKey = Symbol('fastify-tenancy.database')
const unitKey = Symbol('fastify-tenancy.unit-of-work')
const driverKey = Symbol('fastify-tenancy.driver')
const pgKey = Symbol('fastify-tenancy.pg')

/** The driver and compiler that the handles of one scope share. */
interface ScopeDriver {
  readonly driver: TenantDriver | UnitDriver
  readonly compiler: RouteCompiler | undefined
}

/**
 * Connections for look-ups. A few serve any load, because look-ups are short, cached and limited in
 * number.
 */
const registryConnections = 4

/** Returns the `pg` handles of scopes. */
export interface PgMaker {
  forScope(
    scope: TenantScope,
    route?: Pick<ResolvedRouteTenancy, 'transaction' | 'statementTimeout'>
  ): pg.Pool
}

/** Opens the pools of checked options. Nothing connects before {@link DatabaseRuntime.boot}. */
export function openDatabase (options: ResolvedDatabaseOptions): DatabaseRuntime {
  return new DatabaseRuntime(options)
}

/** The connections of one application, and the handles of its scopes. */
export class DatabaseRuntime {
  /** The registry that looks tenants up. */
  readonly registry: TenantRegistry
  /**
   * Called when the database rejects a tenant that this process believed active, that is, when a
   * cached tenant record is stale. The resolver sets it to refresh the record.
   */
  onLockedOut: ((tenant: Tenant) => void) | undefined
  readonly #options: ResolvedDatabaseOptions
  readonly #router: TenantRouter
  // A separate pool unless embedded, so that a tenant that holds every connection does not block
  // the look-up of others.
  readonly #registryPool: pg.Pool | undefined
  /**
   * Runs on `#registryPool`, or else on the tenants' connections, which are reset first if a tenant
   * touched them.
   */
  readonly #lookUps: SqlClient
  /**
   * The pool that LISTENs for tenant changes. Undefined with a custom registry, and with PGlite,
   * where a manager of this process notifies the pool.
   */
  readonly #listenPool: pg.Pool | undefined
  readonly #system: System
  /** Records the queries that break; undefined without `database.observe`. */
  readonly queries: ObservedQueries | undefined
  readonly #log: Log | undefined
  readonly #observers: (() => void)[] = []
  #onShard: ((shard: string, problem: Error | undefined) => void) | undefined
  readonly #shardPulses: Pulses
  readonly #registryPulse: Pulses | undefined
  #booting: Promise<LevelReport> | undefined
  #level: Level | undefined
  #isEnded = false

  constructor (options: ResolvedDatabaseOptions) {
    const { url, registryUrl } = options.database
    this.#options = options
    this.#log = options.database.log && new Log(options.database.log)
    this.#router = new TenantRouter(options, {
      check: report => assertAllowed(report, options.database),
      onShard: (shard, problem) => this.#onShard?.(shard, problem)
    })
    this.queries = options.database.observe === undefined ? undefined : new ObservedQueries()
    const registrySource = registryUrl ?? url
    this.#registryPool = typeof registrySource === 'string' && !isEmbedded(registrySource)
      ? openPool(registrySource, { ...defaultPoolSettings, max: registryConnections })
      : undefined
    this.#system = new System(
      options,
      this.#router.default.pool,
      this.#router.budget,
      this.#router.default.judge
    )
    const registryPool = this.#registryPool ?? this.#router.default.pool.pool
    // `lookUps` resets a connection that a tenant touched, because tenants use these connections,
    // too.
    const lookUps = this.#lookUps = this.#registryPool ?? this.#router.default.pool.lookUps
    if (options.registry instanceof TableRegistry) options.registry.connect(lookUps)
    this.#shardPulses = new Pulses(this.#router.pools)
    const isOurs = options.registry === undefined || options.registry instanceof TableRegistry
    this.#registryPulse = isOurs ? new Pulses([['registry', registryPool]]) : undefined
    const isListened = options.registry === undefined && !isEmbeddedPool(registryPool)
    this.#listenPool = isListened ? registryPool : undefined
    this.registry = options.registry ??
      postgresRegistry(
        lookUps,
        isEmbeddedPool(registryPool)
          ? { onChange: listener => onEmbeddedChange(registryPool, listener) }
          : { listen: () => openListener(registryPool), onCatalog: () => this.dropPreparedNames() }
      )
  }

  /**
   * Connects, and checks that the database suits this version. Runs once, even if called several
   * times.
   *
   * @throws FST_TENANCY_SETUP_INVALID with the command to run, if the database is not initialised,
   * is below `requireLevel`, or lets tenants see each other while `doctor` is `'refuse'`
   */
  boot (): Promise<LevelReport> {
    this.#booting ??= this.#boot().catch((error: unknown) => {
      this.#booting = undefined
      throw error
    })
    return this.#booting
  }

  async #boot (): Promise<LevelReport> {
    const ownRegistry = this.#options.registry === undefined ? this.#lookUps : undefined
    const report = await withTenants(await this.#router.boot(), ownRegistry)
    assertAllowed(report, this.#options.database)
    await this.#observe()
    this.#level = report.level
    const canBeNotified = this.#listenPool === undefined || await canListen(this.#listenPool)
    return { ...report, warnings: [...report.warnings ?? [], ...warningsOf(this.#options, canBeNotified)] }
  }

  /**
   * Returns the id of this installation, for the keys of Redis. With PGlite it exists once
   * {@link boot} has resolved.
   *
   * @throws FST_TENANCY_SETUP_INVALID if there is none, or if the database is a copy of the one
   * that it was made for
   */
  installation (): Promise<string> {
    return readInstallation(this.#lookUps)
  }

  /**
   * Returns the queries that this process saw break, or that will break when old code loses its
   * tables. The most frequent comes first. Empty without `database.observe`.
   */
  get observed (): readonly ObservedQuery[] {
    return this.queries?.list() ?? []
  }

  /**
   * Returns the tables of the options; with `tables.tenant: 'auto'`, as the catalog lists them now.
   */
  tables (): Promise<ResolvedTables> {
    return listTables(this.#lookUps, this.#options.tables)
  }

  /** Returns the handle of a scope's tenant, the same at each call. It ends with the scope. */
  forScope (scope: TenantScope, statementTimeout?: number): TenantKysely {
    return scope.handle(handleKey, () => this.#makeHandle(scope, statementTimeout))
  }

  /**
   * Returns a scope's pool of `pg`, the same at each call. It ends with the scope, and follows the
   * rules of {@link forScope}. With a route, it uses the route's timeout and transaction.
   */
  readonly pg: PgMaker = {
    forScope: (scope, route) => {
      if (route?.transaction === true) this.unitOfWork(scope)
      return scope.handle(pgKey, () => {
        const { driver } = this.#driverOf(scope, route?.statementTimeout)
        return new TenantPgPool(driver, scope, this.#options.database.types)
      })
    }
  }

  /**
   * Makes all of a scope's work one transaction, which its first statement begins. Returns the same
   * unit at each call. Must be called before the first {@link forScope}. The caller must end it; a
   * scope that closes before is rolled back.
   */
  unitOfWork (scope: TenantScope): UnitOfWork {
    return scope.handle(unitKey, () => new UnitOfWork(scope))
  }

  /**
   * The global tables, which no tenant sees, accessed as a role that sees no other table. Nothing
   * is opened before its first query.
   */
  get global (): GlobalKysely {
    return this.#system.global
  }

  /**
   * Runs work across tenants after the audit has recorded it. It uses its own login, is read-only
   * unless `write` is true, and is never part of a request's transaction. The handle is closed when
   * `fn` has settled.
   *
   * @throws FST_TENANCY_OPTION_INVALID without `database.systemUrl` or `audit`, and
   * FST_TENANCY_AUDIT_FAILED
   */
  asSystem<T> (options: SystemAccessOptions, fn: (work: SystemWork) => T | Promise<T>): Promise<T> {
    return this.#system.access(options, fn)
  }

  /**
   * Makes every connection drop its prepared statements, because the catalog changed. Their
   * parameters would otherwise keep the old types of the columns.
   */
  dropPreparedNames (): void {
    this.#router.dropPreparedNames()
    this.#system.dropPreparedNames()
  }

  /**
   * Logs when a shard that was unreachable at boot becomes served, and why a shard that is
   * reachable again is not served.
   */
  logShards (log: ScopeLogger): void {
    this.#onShard = (shard, problem) => {
      if (problem === undefined)
        log.info({ shard }, `tenancy: shard '${shard}' passed its checks and is served`)
      else log.error(
          { shard, err: problem },
          `tenancy: the tenants of a shard are refused: ${problem.message}`
        )
    }
  }

  /** Starts to watch the servers, even without traffic. {@link close} ends it. */
  watchHealth (): void {
    if (this.#isEnded) return
    this.#shardPulses.start()
    this.#registryPulse?.start()
  }

  /** Returns the state from the replies of the last seconds. */
  health (): DatabaseHealth {
    const [router, system] = [this.#router, this.#system]
    // A reachable shard that was not checked yet serves no tenant, so it counts as down.
    const unserved = Object.fromEntries(router.unserved.map(name => [name, 'down' as const]))
    const shards = { ...this.#shardPulses.status(), ...unserved }
    return {
      status: this.#isEnded ? 'down' : overall(shards),
      shards,
      registry: this.#registryPulse?.status()['registry'] ?? 'ok',
      isolationLevel: this.#level,
      connections: router.connections + system.connections,
      waiting: router.waiting + system.waiting,
      requiredMigration: this.#options.database.requireMigration
    }
  }

  /** Ends the pools that were opened here. A pool that was passed in stays open. */
  async close (): Promise<void> {
    if (this.#isEnded) return
    this.#isEnded = true
    this.#shardPulses.stop()
    this.#registryPulse?.stop()
    for (const end of this.#observers) end()
    await Promise.all([this.#system.close(), this.#router.close(), this.#registryPool?.end()])
  }

  // Reads the table lists from the catalog, because `tables.tenant` may be 'auto'.
  async #observe (): Promise<void> {
    const { queries } = this
    if (queries === undefined || this.#observers.length > 0) return
    const { lookUps } = this.#router.default.pool
    const { schema, tenant, shared, global } = await listTables(lookUps, this.#options.tables)
    const names = [...Object.keys(tenant), ...shared, ...global]
    queries.watchTables([...names, ...await readViewsOver(lookUps, schema, names)])
    for (const pool of this.#options.database.observe ?? [])
      this.#observers.push(observePool(pool, sql => queries.old(sql)))
  }

  #makeHandle (scope: TenantScope, statementTimeout: number | undefined): TenantKysely {
    const { plugins, log } = this.#options.database
    const { driver, compiler } = this.#driverOf(scope, statementTimeout)
    return new TenantHandle<RequestDatabase>({
      dialect: new TenantDialect(driver, compiler),
      plugins: [...plugins],
      ...(log !== undefined && { log })
    })
  }

  // One driver for both handles, so that they share the connection in a request that is one
  // transaction.
  #driverOf (scope: TenantScope, statementTimeout: number | undefined): ScopeDriver {
    return scope.handle(driverKey, () => this.#makeDriver(scope, statementTimeout))
  }

  #makeDriver (scope: TenantScope, statementTimeout: number | undefined): ScopeDriver {
    const { queries } = this
    const { acquire, compiler } = this.#router.route(scope.tenant, statementTimeout)
    const settings = {
      scope,
      tenant: scope.tenant,
      acquire,
      log: this.#log,
      onBreach: () => reportBreach(scope),
      onLockedOut: () => this.onLockedOut?.(scope.tenant),
      ...(queries !== undefined &&
        { onFailure: (text: string, error: unknown) => queries.failed(text, error) }),
      ...(compiler?.statementOf !== undefined && { statementOf: compiler.statementOf }),
      ...(compiler?.isHarmless !== undefined && { isHarmless: compiler.isHarmless })
    }
    const driver = scope.transaction === undefined
      ? new TenantDriver(settings)
      : new UnitDriver(settings, this.unitOfWork(scope))
    return { driver, compiler }
  }
}
