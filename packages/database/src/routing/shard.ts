import type { Isolation, Tenant } from '@fastify-tenancy/core'
import { InternalError } from '@fastify-tenancy/core/errors'
import { tenantRole } from '@fastify-tenancy/core/keys'
import { defaultPoolSettings, isEmbeddedPool, type SqlClient } from '@fastify-tenancy/postgres/client'
import { Signer, signingKey } from '@fastify-tenancy/postgres/context-token'
import { bootWarnings, checkBoot, reportLevel, type CatalogFacts,
  type LevelReport } from '@fastify-tenancy/postgres/doctor'
import { assertInitialised, init, SigningUses } from '@fastify-tenancy/postgres/install'
import { schemaOf } from '@fastify-tenancy/postgres/placement'
import { rowRole, rolesOf } from '@fastify-tenancy/postgres/roles'
import { readExtensionSchemas, listTables, type ResolvedTables } from '@fastify-tenancy/postgres/tables'

import { SchemaQualifier } from '../compilers/qualifier.ts'
import { RowStrategy } from '../compilers/row-strategy.ts'
import { SchemaCompiler } from '../compilers/schema-compiler.ts'
import { ConnectionState } from '../connection/connection-state.ts'
import { ConnectionPool } from '../connection/pool.ts'
import type { ResetRules } from '../connection/reset.ts'
import { readTenantColumns } from '../connection/tenant-columns.ts'
import type { ConnectionOwner } from '../connection/tenant-connection.ts'
import { Tripwire } from '../connection/tripwire.ts'
import { LockoutVersions, hasLockouts } from '../context/lockout-versions.ts'
import { rlsContext, rlsContexts, type ContextSettings } from '../context/tenant-context.ts'
import { HarmlessCatalog } from '../harmless/catalog.ts'
import type { Judge } from '../harmless/judge.ts'
import { JudgingCompiler } from '../harmless/judging-compiler.ts'
import { readOwnPolicies } from '../harmless/own-policies.ts'
import { levelFacts } from '../options/level-facts.ts'
import type { ResolvedDatabaseOptions } from '../options/options.ts'
import type { ShardOptions } from '../options/placement-options.ts'
import type { ConnectionBudget } from '../pools/budget.ts'
import { MigrationGate } from '../pools/migration-gate.ts'
import { bootRoles, poolWarnings, signsWithSecond } from './boot-roles.ts'
import type { TenantRoute } from './tenant-route.ts'

/** Milliseconds beyond the server's own timeout until a connection without a reply is closed. */
export const replyMarginMs = 5_000

/** The connections of one login, and the context of tenants' statements on them. */
interface Side {
  readonly pool: ConnectionPool
  readonly context: ContextSettings
}

/**
 * One database with tenant tables and tenants' schemas, and the application's connections to it.
 */
export class Shard {
  readonly pool: ConnectionPool
  /**
   * The connections of `tenantRolesUrl`; undefined if the login of `url` takes the tenants' roles.
   */
  readonly #rolesPool: ConnectionPool | undefined
  readonly #options: ResolvedDatabaseOptions
  readonly #logins: ShardOptions
  readonly #isDefault: boolean
  readonly #tripwire: Tripwire
  readonly #rows: RowStrategy
  readonly #qualifier: SchemaQualifier
  readonly #gate: MigrationGate | undefined
  readonly #harmless: HarmlessCatalog
  readonly #compiler: JudgingCompiler
  #doctorInput: CatalogFacts | undefined
  #tables: ResolvedTables
  #name = ''
  #own: Side | undefined
  readonly #contextsByTimeout = new Map<number, ReturnType<typeof rlsContexts>>()
  #roles: Side | undefined
  /** The last error of a boot that came from the connections of `tenantRolesUrl`. */
  #rolesError: unknown
  #uses: SigningUses | undefined
  #extensions: readonly string[] = []

  constructor (
    logins: ShardOptions,
    options: ResolvedDatabaseOptions,
    budget: ConnectionBudget,
    isDefault: boolean
  ) {
    const { url, tenantRolesUrl } = logins
    const { pool: { max }, types, reset, fairness, tagStatements } = options.database
    const use = { types, reset, isTagged: tagStatements }
    this.#options = options
    this.#logins = logins
    this.#isDefault = isDefault
    this.#tables = options.tables
    this.#qualifier = new SchemaQualifier({
      names: new Set(options.tables.shared),
      schema: options.tables.schema
    })
    this.#gate = options.database.requireMigration === undefined
      ? undefined
      : new MigrationGate(options.database.requireMigration)
    const pool = typeof url === 'string' ? budget.openPool(url, { ...defaultPoolSettings, max }) : url
    this.pool = new ConnectionPool(pool, typeof url === 'string', use, fairness)
    if (tenantRolesUrl !== undefined) {
      const rolesPool = budget.openPool(tenantRolesUrl, { ...defaultPoolSettings, max })
      this.#rolesPool = new ConnectionPool(rolesPool, true, use, fairness)
    }
    this.#harmless = new HarmlessCatalog({
      catalog: this.pool.catalog,
      dropPreparedNames: () => this.#forgetPrepared()
    }, {
      schema: options.tables.schema,
      tables: () => namesOf(this.#tables),
      ownPolicies: async client =>
        this.#doctorInput === undefined ? new Set() : readOwnPolicies(client, this.#doctorInput),
      functions: options.row.functions,
      others: () => this.#extensions,
      hasEpoch: () => this.#own?.context.lockout !== undefined
    })
    this.pool.onCatalogChanged = () => this.#harmless.expire()
    if (this.#rolesPool !== undefined) this.#rolesPool.onCatalogChanged = this.pool.onCatalogChanged
    this.#compiler = new JudgingCompiler(() => this.#harmless.judge)
    this.#rows = new RowStrategy(options, this.#harmless.judge)
    this.#tripwire = new Tripwire(this.pool.catalog, async (client, only) => {
      // `only` is undefined once a minute. The rules are read again then, because an extension may
      // be created after the boot.
      if (only === undefined) await this.#readResetRules(client)
      return readTenantColumns(client, this.#tables, only)
    })
  }

  /**
   * Connects once and reads what every statement needs: the role, whether the database is
   * initialised, and whether the connection goes through a pooler.
   *
   * @throws FST_TENANCY_SETUP_INVALID with the command to run, if the database is not initialised
   */
  async boot (): Promise<LevelReport> {
    const { database, isolation, rls, registry } = this.#options
    // Policies are needed only if queries are not rewritten. Nothing of the suite is needed in this
    // database if queries are rewritten and the registry is elsewhere.
    const needsPolicies = isolation === 'rls'
    const needsInit = needsPolicies || isolation === 'schema' || registry === undefined
    const keys = rls.secrets.map(signingKey)
    const client = await this.pool.pool.connect()
    try {
      // No other process can initialise an embedded database.
      if (isEmbeddedPool(this.pool.pool))
        await init(client, { signingSecrets: rls.secrets, dropOldSecrets: 'now' })
      const tables = this.#tables = await listTables(client, this.#options.tables)
      const listed = needsPolicies ? tables : { ...tables, tenant: {} }
      const known = needsInit
        ? await assertInitialised(client, {
          tables: listed,
          signed: keys.length > 0,
          context: rls.context,
          key: keys
        })
        : undefined
      const key = known ?? keys[0]
      await this.#rows.boot(client, tables)
      const { rows: [row] } = await client.query<{ name: string; login: string; pid: number }>(
        'select current_database() as name, session_user as login, pg_backend_pid() as pid'
      )
      if (row === undefined) throw new InternalError('the database did not answer')
      this.#name = row.name
      // Behind a pooler the backend may change with each transaction. Then a token must not be
      // bound to a pid, and a statement must not be named.
      const isDirect = row.pid === ConnectionState.of(client).client.processID
      const isPooled = !isDirect && !isEmbeddedPool(this.pool.pool)
      if (isPooled) this.pool.becomePooled()
      const { isImpossible } = await this.#readResetRules(client)
      const sign = (isDirect: boolean): ContextSettings['sign'] =>
        signer && ((tenant, pid) => signer.sign(tenant, isDirect ? pid : null))
      const { statementTimeout, lockTimeout, idleInTransaction, plans, tagStatements } = database
      const signer = key && new Signer(key)
      const context: ContextSettings = {
        role: needsInit ? rolesOf(row.name).app : await rowRole(client, row.name),
        schema: tables.schema,
        extensions: (this.#extensions = await readExtensionSchemas(client, tables.extensionSchemas)).filter(
          schema => schema !== tables.schema
        ),
        statementTimeout,
        lockTimeout,
        idleInTransaction,
        plans,
        isTagged: tagStatements,
        sign: sign(isDirect),
        lockout: await hasLockouts(client)
          ? { route: 'shared', lockoutVersions: new LockoutVersions() }
          : undefined,
        catalogEpoch: () => this.#harmless.epoch
      }
      this.#own = { pool: this.pool, context }
      this.#contextsByTimeout.clear()
      const roles = this.#rolesPool &&
        await bootRoles(this.#rolesPool, row.name).catch((error: unknown) => {
          this.#rolesError = error
          throw error
        })
      this.#roles = roles && { pool: roles.pool, context: { ...context, sign: sign(roles.isDirect) } }
      const facts = levelFacts(
        this.#options,
        {
          ...this.#logins,
          registryUrl: database.registryUrl,
          ...(this.#isDefault && { globalUrl: database.globalUrl })
        },
        row.login,
        this.#isDefault ? tables.global : []
      )
      // Without the suite's objects in the database there is nothing to check.
      const doctorInput: CatalogFacts = {
        database: row.name,
        login: row.login,
        logins: facts.logins,
        tables,
        signed: key !== undefined,
        context: rls.context,
        rewritten: isolation === 'row',
        hasRls: isolation === 'rls',
        functions: isolation === 'row' ? this.#options.row.functions : []
      }
      this.#doctorInput = doctorInput
      const checks = database.doctor === false || !needsInit
        ? undefined
        : await checkBoot(client, doctorInput)
      const findings = checks?.findings ?? []
      const report = await reportLevel(client, facts, row.login, checks?.logins)
      this.#uses?.end()
      if (known !== undefined) this.#uses = new SigningUses(this.pool.lookUps, known)
      await this.#uses?.note(client)
      const warnings = [...bootWarnings(findings), ...(key === keys[0] ? [] : [signsWithSecond]),
        ...await poolWarnings(client, isPooled, isImpossible)]
      await this.pool.settle(client)
      return { ...report, findings, warnings }
    } finally {
      // These are the suite's own queries, which leave no traces. The first tenant
      // then needs no reset.
      ConnectionState.of(client).leaveClean()
      client.release()
      if (this.#own !== undefined) {
        await this.#tripwire.refresh()
        await this.#harmless.refresh()
      }
    }
  }

  /**
   * Expires everything that was read from the catalog: the prepared statements of every connection,
   * and which statements are harmless.
   */
  dropPreparedNames (): void {
    this.#forgetPrepared()
    this.#harmless.expire()
  }

  #forgetPrepared (): void {
    this.pool.dropPreparedNames()
    this.#rolesPool?.dropPreparedNames()
  }

  /** Returns the judge of statements on the schema with tenant tables. */
  get judge (): Judge {
    return this.#harmless.judge
  }

  // Both logins reach the same database.
  async #readResetRules (client: SqlClient): Promise<ResetRules> {
    const rules = await this.pool.readResetRules(client)
    this.#rolesPool?.setResetRules(rules)
    return rules
  }

  /**
   * Returns the URL whose login failed with an error of the boot; undefined for a pool that was
   * made from other settings.
   */
  urlOf (error: unknown): string | undefined {
    const { url, tenantRolesUrl } = this.#logins
    if (error !== undefined && error === this.#rolesError) return tenantRolesUrl
    const source = typeof url === 'string' ? url : url.options.connectionString
    return source !== undefined && URL.canParse(source) ? source : undefined
  }

  get connections (): number {
    return this.pool.pool.totalCount + (this.#rolesPool?.pool.totalCount ?? 0)
  }

  get waiting (): number {
    return this.pool.waiting + (this.#rolesPool?.waiting ?? 0)
  }

  async close (): Promise<void> {
    this.#uses?.end()
    await Promise.all([this.pool.close(), this.#rolesPool?.close()])
  }

  /**
   * Returns the schemas of extensions that follow a tenant's own schema in the search path. Schemas
   * with readable tables are included: the privileges of the tenant's role decide, and it may read
   * only the reference tables there.
   */
  extensions (schema: string): readonly string[] {
    return this.#extensions.filter(name => name !== schema)
  }

  // Caches one entry per timeout that plans and routes set.
  #contexts ({ context }: Side, statementTimeout: number): ReturnType<typeof rlsContexts> {
    const known = this.#contextsByTimeout.get(statementTimeout)
    if (known !== undefined) return known
    const made = rlsContexts({ ...context, statementTimeout })
    this.#contextsByTimeout.set(statementTimeout, made)
    return made
  }

  /** Returns the route of a tenant's statements. */
  route (tenant: Tenant, isolation: Isolation, statementTimeout: number): TenantRoute {
    if (this.#own === undefined) throw new InternalError('the database was not booted: await boot() first')
    const schema = isolation === 'schema' ? schemaOf(tenant) : undefined
    const hasRole = schema !== undefined || (isolation === 'rls' && this.#options.rls.context === 'role')
    const { pool, context } = hasRole ? this.#roles ?? this.#own : this.#own
    const owner: ConnectionOwner = {
      tenant: tenant.id,
      context: hasRole
        ? rlsContext(tenant, {
          ...context,
          statementTimeout,
          role: tenantRole(tenant.id, this.#name),
          // Policies check the signature. The privileges of a schema's role need none.
          ...(schema !== undefined && {
            extensions: this.extensions(schema),
            schema,
            sign: undefined,
            lockout: context.lockout && { ...context.lockout, route: 'schema' }
          })
        })
        : this.#contexts(this.#own, statementTimeout)(tenant),
      guard: this.#options.database.tripwire ? this.#tripwire.guard(tenant.id) : undefined,
      deadline: statementTimeout + replyMarginMs,
      statementTimeout,
      ...(schema !== undefined && { schema })
    }
    const compiler = schema === undefined
      ? this.#rows.compiler(tenant) ?? this.#compiler
      : new SchemaCompiler(schema, this.#qualifier, this.#harmless.route(schema))
    const gate = this.#gate
    if (gate === undefined || schema === undefined) return { acquire: () => pool.acquire(owner), compiler }
    return {
      acquire: async () => {
        await gate.pass(tenant.id, schema, pool)
        return pool.acquire(owner)
      },
      compiler
    }
  }
}

function namesOf ({ tenant, shared, global }: ResolvedTables): readonly string[] {
  return [...Object.keys(tenant), ...shared, ...global]
}
