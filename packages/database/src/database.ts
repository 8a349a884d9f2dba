import type { ResolvedRouteTenancy, ScopeLogger, Tenant, TenantRegistry,
  TenantScope } from '@fastify-tenancy/core'
import { SetupInvalidError } from '@fastify-tenancy/postgres'
import { defaultPoolSettings, isEmbedded, isEmbeddedPool, openPool,
  type SqlClient } from '@fastify-tenancy/postgres/client'
import { bootRefusal, type Level, type LevelReport } from '@fastify-tenancy/postgres/doctor'
import { readInstallation } from '@fastify-tenancy/postgres/install'
import { canListen, openListener, postgresRegistry, TableRegistry } from '@fastify-tenancy/postgres/registry'
import { listTables, readViewsOver } from '@fastify-tenancy/postgres/tables'
import { Log } from 'kysely'
import type pg from 'pg'

import type { ServerStatus } from './health/pool-pulse.ts'
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
import type { RouteCompiler } from './routing/shard.ts'
import { TenantRouter } from './routing/tenant-router.ts'
import type { SystemAccessOptions, SystemWork } from './system/access.ts'
import { System } from './system/system.ts'

/** How the database does, from what was last seen. */
export interface DatabaseHealth {
  /** `'down'`: no shard answers. `'degraded'`: one of several does not, or a server takes no more connections. */
  readonly status: ServerStatus
  /** Each shard by name; `'default'` is that of `database.url`. */
  readonly shards: Readonly<Record<string, ServerStatus>>
  /** The server of the registry, where that is not a registry of the user's own. */
  readonly registry: ServerStatus
  /** How far the parts were kept apart at the boot, L0 to L4; undefined before it. */
  readonly isolationLevel: Level | undefined
  /** Connections of this process, and callers that wait for one. */
  readonly connections: number
  readonly waiting: number
}

const handleKey = Symbol('fastify-tenancy.database')
const unitKey = Symbol('fastify-tenancy.unit-of-work')
const driverKey = Symbol('fastify-tenancy.driver')
const pgKey = Symbol('fastify-tenancy.pg')

/** What the handles of one scope send their statements through. */
interface ScopeDriver {
  readonly driver: TenantDriver | UnitDriver
  readonly compiler: RouteCompiler | undefined
}

// Below level 2 the reasons name what is worse, and not this.
const unsigned =
  'contexts are not signed, so that they stop mistakes and no attacker: injected SQL can name another tenant; give options.rls.secret, and run `tenancy init` and `tenancy protect` with it'
const unheard =
  'tenants are looked up through a pooler, where LISTEN hears nothing: a change of a tenant that is not published through redis is seen when the copies of it have aged; give options.database.registryUrl an address that is not pooled by transaction'

/** Look-ups are short and cached: a few connections serve any load that the cap on them lets through. */
const registryConnections = 4

/** Makes the `pg` handles of scopes. */
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

/** The connections of one application, and the handles that scopes get on them. */
export class DatabaseRuntime {
  /** Where tenants are looked up. */
  readonly registry: TenantRegistry
  /** Told when a tenant's database locked it out, though its process took it for served: what is remembered of it is old. Set by whoever remembers. */
  onLockedOut: ((tenant: Tenant) => void) | undefined
  readonly #options: ResolvedDatabaseOptions
  readonly #router: TenantRouter
  // Of its own where it can be: a tenant that holds every connection must not keep others from being found.
  readonly #registryPool: pg.Pool | undefined
  /** On the pool above, or on the tenants' connections, which are reset first if a tenant touched them. */
  readonly #lookUps: SqlClient
  /** On which changes of tenants are heard; undefined where the registry is not ours, or this process' alone. */
  readonly #heard: pg.Pool | undefined
  readonly #system: System
  /** What notes the queries that break; undefined without `database.observe`. */
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
      check: report => this.#assertAllowed(report),
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
    // On connections that tenants use as well, a look-up must not meet what they left.
    const lookUps = this.#lookUps = this.#registryPool ?? this.#router.default.pool.lookUps
    if (options.registry instanceof TableRegistry) options.registry.connect(lookUps)
    this.#shardPulses = new Pulses(this.#router.pools)
    const isOurs = options.registry === undefined || options.registry instanceof TableRegistry
    this.#registryPulse = isOurs ? new Pulses([['registry', registryPool]]) : undefined
    this.#heard = options.registry === undefined && !isEmbeddedPool(registryPool) ? registryPool : undefined
    this.registry = options.registry ??
      postgresRegistry(
        lookUps,
        this.#heard && { listen: () => openListener(registryPool), onCatalog: () => this.dropPreparedNames() }
      )
  }

  /**
   * Connects, and checks that the database is as this version needs it: once, however often it is called.
   *
   * @throws FST_TENANCY_SETUP_INVALID that says what to run, where the database is not initialised, below `requireLevel`, or lets
   * tenants see each other while `doctor` is `'refuse'`
   */
  boot (): Promise<LevelReport> {
    this.#booting ??= this.#boot().catch((error: unknown) => {
      this.#booting = undefined
      throw error
    })
    return this.#booting
  }

  async #boot (): Promise<LevelReport> {
    const report = await this.#withTenants(await this.#router.boot())
    this.#assertAllowed(report)
    await this.#observe()
    this.#level = report.level
    const isHeard = this.#heard === undefined || await canListen(this.#heard)
    const { isolation, rls } = this.#options
    const isOpen = process.env.NODE_ENV === 'production' && isolation === 'rls' && rls.secrets.length === 0
    return {
      ...report,
      warnings: [...report.warnings ?? [], ...(isHeard ? [] : [unheard]), ...(isOpen ? [unsigned] : [])]
    }
  }

  // Of all shards at the boot, and of one that was away then when it is back.
  #assertAllowed ({ level, reasons, findings = [] }: LevelReport): void {
    const { requireLevel, doctor } = this.#options.database
    if (level < requireLevel) {
      throw new SetupInvalidError(
        `the database reaches level L${level}, and options.database.requireLevel asks for L${requireLevel}: ${
          reasons.join('; ')
        }`
      )
    }
    const refusal = doctor === 'refuse' && process.env.NODE_ENV === 'production'
      ? bootRefusal(findings)
      : undefined
    if (refusal !== undefined) throw new SetupInvalidError(refusal)
  }

  /**
   * The id of this installation, for the keys of Redis. With PGlite it is there once {@link boot} has resolved.
   *
   * @throws FST_TENANCY_SETUP_INVALID where there is none, or the database is a copy of the one that it was made for
   */
  installation (): Promise<string> {
    return readInstallation(this.#lookUps)
  }

  /**
   * The queries that break, or will when old code loses its tables, as far as this process has seen them, the most frequent first.
   * None without `database.observe`.
   */
  get observed (): readonly ObservedQuery[] {
    return this.queries?.list() ?? []
  }

  /** The handle of a scope's tenant, the same at each call. It ends with the scope. */
  forScope (scope: TenantScope, statementTimeout?: number): TenantKysely {
    return scope.handle(handleKey, () => this.#makeHandle(scope, statementTimeout))
  }

  /**
   * Makes a scope's pool of `pg`, the same at each call. It ends with the scope, and has its rules from {@link forScope}. Given a route,
   * it keeps to its timeout and its transaction.
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
   * Makes all of a scope's work one transaction, which its first statement begins; the same at each call.
   * To be called before the first {@link forScope}. Whoever calls it ends it: a scope that closes before is rolled back.
   */
  unitOfWork (scope: TenantScope): UnitOfWork {
    return scope.handle(unitKey, () => new UnitOfWork(scope))
  }

  /** The tables that no tenant sees, as a role that sees no other. Nothing is opened before its first query. */
  get global (): GlobalKysely {
    return this.#system.global
  }

  /**
   * Does work across tenants, once the audit knows of it: on a login of its own, read-only unless `write` is given,
   * and never as part of a request's transaction. The handle is closed when `fn` has settled.
   *
   * @throws FST_TENANCY_OPTION_INVALID without `database.systemUrl` or `audit`, and FST_TENANCY_AUDIT_FAILED
   */
  asSystem<T> (options: SystemAccessOptions, fn: (work: SystemWork) => T | Promise<T>): Promise<T> {
    return this.#system.access(options, fn)
  }

  /**
   * Has every connection forget its prepared statements, because the catalog changed. Their parameters would keep the types
   * that the columns had before.
   */
  dropPreparedNames (): void {
    this.#router.dropPreparedNames()
    this.#system.dropPreparedNames()
  }

  /** Logs when a shard that was away at the boot is served, and why one that answers again is not. */
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

  /** Begins to look after the servers, also without traffic; {@link close} ends it. */
  watchHealth (): void {
    if (this.#isEnded) return
    this.#shardPulses.start()
    this.#registryPulse?.start()
  }

  /** From what was heard in the last seconds. */
  health (): DatabaseHealth {
    const [router, system] = [this.#router, this.#system]
    // A shard that answers and was not checked yet serves no tenant.
    const unserved = Object.fromEntries(router.unserved.map(name => [name, 'down' as const]))
    const shards = { ...this.#shardPulses.status(), ...unserved }
    const states = Object.values(shards)
    const status = this.#isEnded || states.every(state => state === 'down')
      ? 'down'
      : states.every(state => state === 'ok')
      ? 'ok'
      : 'degraded'
    return {
      status,
      shards,
      registry: this.#registryPulse?.status()['registry'] ?? 'ok',
      isolationLevel: this.#level,
      connections: router.connections + system.connections,
      waiting: router.waiting + system.waiting
    }
  }

  /** Ends the pools that were opened here; one that was passed in stays open. */
  async close (): Promise<void> {
    if (this.#isEnded) return
    this.#isEnded = true
    this.#shardPulses.stop()
    this.#registryPulse?.stop()
    for (const end of this.#observers) end()
    await Promise.all([this.#system.close(), this.#router.close(), this.#registryPool?.end()])
  }

  // The options name the strategy of tenants without one; only the registry knows which tenants there are.
  async #withTenants (report: LevelReport): Promise<LevelReport> {
    if (report.level < 4 || this.#options.registry !== undefined) return report
    const { rows: [row] } = await this.#lookUps.query<{ shares: boolean }>(
      "select exists (select from tenancy.tenants where isolation <> 'database' and status <> 'deleted') as shares"
    )
    return row?.shares === true
      ? { ...report, level: 3, reasons: ['some tenants have no database of their own and share one login'] }
      : report
  }

  // Which tables there are may be for the catalog to say.
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

  // One driver for both handles, so that in a request that is one transaction they share its connection.
  #driverOf (scope: TenantScope, statementTimeout: number | undefined): ScopeDriver {
    return scope.handle(driverKey, () => this.#makeDriver(scope, statementTimeout))
  }

  #makeDriver (scope: TenantScope, statementTimeout: number | undefined): ScopeDriver {
    const { queries } = this
    const { acquire, compiler } = this.#router.route(scope.tenant, statementTimeout)
    const settings = {
      scope,
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
