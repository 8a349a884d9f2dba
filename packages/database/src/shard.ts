import { tenantRole, type Isolation, type Tenant, InternalError } from '@fastify-tenancy/core'
import type { CompiledQuery, QueryCompiler } from 'kysely'

import type { Borrower, Lease, Query } from './connection/lease.ts'
import { defaultPoolSettings, isEmbeddedPool } from './connection/open-pool.ts'
import { ConnectionPool } from './connection/pool.ts'
import { resetsBackends, unresetPooler } from './connection/pooler.ts'
import { unresettable, type ResetRules } from './connection/reset.ts'
import { Session } from './connection/session.ts'
import { readTenantColumns } from './connection/tenant-columns.ts'
import { Tripwire } from './connection/tripwire.ts'
import { rlsContext, type ContextSettings } from './context.ts'
import { bootWarnings, checkBoot } from './doctor/boot.ts'
import type { DoctorInput } from './doctor/index.ts'
import { HarmlessCatalog } from './harmless/catalog.ts'
import type { Judge } from './harmless/judge.ts'
import { JudgingCompiler } from './harmless/judging-compiler.ts'
import { readOwnPolicies } from './harmless/own-policies.ts'
import { reportLevel, type LevelReport } from './level.ts'
import type { ResolvedDatabaseOptions } from './options.ts'
import { rowRole } from './row/role.ts'
import { RowStrategy } from './row/strategy.ts'
import { assertInitialised, assertMayTakeRoles } from './setup/assert-initialised.ts'
import { init } from './setup/init.ts'
import { readExtensionSchemas } from './setup/extension-schemas.ts'
import { listTables } from './setup/list-tables.ts'
import { rolesOf } from './setup/roles.ts'
import type { SqlClient } from './setup/sql-client.ts'
import type { ConnectionBudget } from './strategies/budget.ts'
import { MigrationGate } from './strategies/migration-gate.ts'
import type { ShardOptions } from './strategies/options.ts'
import { schemaOf } from './strategies/placement.ts'
import { FenceEpochs, hasFences } from './strategies/fences.ts'
import { SchemaQualifier } from './strategies/qualifier.ts'
import { SchemaCompiler } from './strategies/schema-compiler.ts'
import { SigningUses } from './signing-uses.ts'
import { Signer, signingKey } from './token.ts'
import type { ResolvedTables } from './setup/table-lists.ts'
import { levelFacts } from './level-facts.ts'

/** How long past the server's own timeout an answer may take, in milliseconds, before the connection is given up. */
export const grace = 5_000

const earlier =
  'the database does not know the first secret of options.rls.secret yet, so this process signs with the second: run `tenancy init`, then start it again'

/** Where one tenant's statements go, by its isolation. */
export interface Home {
  /** Borrows a connection on which each statement speaks for the tenant. */
  acquire(): Promise<Lease>
  /** A compiler of the tenant's own, where its queries are rewritten. */
  readonly compiler: HomeCompiler | undefined
}

export interface HomeCompiler extends QueryCompiler {
  /** What is sent for a compiled query; throws where it may not run here. @default its own text and parameters */
  readonly statementOf?: (query: CompiledQuery) => Query
  /** Whether a compiled query is proved to change and read nothing of its session. @default none is */
  readonly isHarmless?: (query: CompiledQuery) => boolean
}

/** The connections of one login, and the context that statements of tenants get there. */
interface Side {
  readonly pool: ConnectionPool
  readonly context: ContextSettings
}

/** One database with shared tables and schemas of tenants, and the application's connections to it. */
export class Shard {
  readonly pool: ConnectionPool
  /** The connections of `tenantRolesUrl`; undefined where the login of `url` takes the roles of tenants. */
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
  #doctorInput: DoctorInput | undefined
  #tables: ResolvedTables
  #name = ''
  #own: Side | undefined
  #roles: Side | undefined
  #uses: SigningUses | undefined
  #extensions: readonly string[] = []

  constructor (
    logins: ShardOptions,
    options: ResolvedDatabaseOptions,
    budget: ConnectionBudget,
    isDefault: boolean
  ) {
    const { url, tenantRolesUrl } = logins
    const { pool: { max }, types, reset, fairness } = options.database
    const use = { types, reset }
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
      forgetNames: () => this.#forgetPrepared()
    }, {
      schema: options.tables.schema,
      tables: () => namesOf(this.#tables),
      ownPolicies: async client =>
        this.#doctorInput === undefined ? new Set() : readOwnPolicies(client, this.#doctorInput),
      functions: options.row.functions,
      others: () => this.#extensions,
      hasEpoch: () => this.#own?.context.fence !== undefined
    })
    this.pool.onCatalogChanged = () => this.#harmless.expire()
    if (this.#rolesPool !== undefined) this.#rolesPool.onCatalogChanged = this.pool.onCatalogChanged
    this.#compiler = new JudgingCompiler(() => this.#harmless.judge)
    this.#rows = new RowStrategy(options, this.#harmless.judge)
    this.#tripwire = new Tripwire(this.pool.catalog, async (client, only) => {
      // Once a minute, because an extension may come after the boot.
      if (only === undefined) await this.#readResetRules(client)
      return readTenantColumns(client, this.#tables, only)
    })
  }

  /**
   * Connects once, and learns what every statement needs: the role, whether the database is set up, and whether
   * a backend can be told by its pid.
   *
   * @throws FST_TENANCY_SETUP_INVALID that says what to run, where the database is not initialised
   */
  async boot (): Promise<LevelReport> {
    const { database, isolation, rls, registry } = this.#options
    // Where all queries are rewritten, no policy is needed; and where tenants are looked up elsewhere, nothing of ours.
    const needsPolicies = isolation === 'rls'
    const needsInit = needsPolicies || isolation === 'schema' || registry === undefined
    const keys = rls.secrets.map(signingKey)
    const client = await this.pool.pool.connect()
    try {
      // An embedded database is this process's own: there is nobody else to initialise it.
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
      // Behind a pooler the backend changes from one transaction to the next: a token must not be bound to its pid,
      // and a statement must not be named.
      const isDirect = row.pid === Session.of(client).client.processID
      const isPooled = !isDirect && !isEmbeddedPool(this.pool.pool)
      if (isPooled) this.pool.becomePooled()
      const { isImpossible } = await this.#readResetRules(client)
      const sign = (isDirect: boolean): ContextSettings['sign'] =>
        signer && ((tenant, pid) => signer.sign(tenant, isDirect ? pid : null))
      const { statementTimeout, lockTimeout, idleInTransaction, plans } = database
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
        sign: sign(isDirect),
        fence: await hasFences(client) ? { home: 'shared', epochs: new FenceEpochs() } : undefined,
        catalogEpoch: () => this.#harmless.epoch
      }
      this.#own = { pool: this.pool, context }
      const roles = this.#rolesPool && await bootRoles(this.#rolesPool, row.name)
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
      const report = await reportLevel(client, facts)
      // Where nothing of ours is set up, there is nothing to hold it against.
      const doctorInput: DoctorInput = {
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
      const findings = database.doctor === false || !needsInit ? [] : await checkBoot(client, doctorInput)
      this.#uses?.end()
      if (known !== undefined) this.#uses = new SigningUses(this.pool.lookUps, known)
      await this.#uses?.note(client)
      const warnings = [...bootWarnings(findings), ...(key === keys[0] ? [] : [earlier]),
        ...await poolWarnings(client, isPooled, isImpossible)]
      await this.pool.settle(client)
      return { ...report, findings, warnings }
    } finally {
      // These queries are the suite's own and left nothing: no reset is due before the first tenant.
      Session.of(client).claim()
      client.release()
      if (this.#own !== undefined) {
        await this.#tripwire.refresh()
        await this.#harmless.refresh()
      }
    }
  }

  /** Takes what is known of the catalog for old: the prepared statements of every connection, and which statements are harmless. */
  forgetNames (): void {
    this.#forgetPrepared()
    this.#harmless.expire()
  }

  #forgetPrepared (): void {
    this.pool.forgetNames()
    this.#rolesPool?.forgetNames()
  }

  /** Judges statements on the schema of the tables that tenants share. */
  get judge (): Judge {
    return this.#harmless.judge
  }

  // Both logins reach the same database.
  async #readResetRules (client: SqlClient): Promise<ResetRules> {
    const rules = await this.pool.readResetRules(client)
    this.#rolesPool?.setResetRules(rules)
    return rules
  }

  /** The URL of the application's login; undefined for a pool that was made from other settings. */
  get url (): string | undefined {
    const { url } = this.#logins
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
   * The schemas of extensions that are on the path behind a schema of a tenant's own. One that holds readable tables is, too: what a name then means is
   * for the tenant's role to allow, which reads the shared tables and nothing else there.
   */
  extensions (schema: string): readonly string[] {
    return this.#extensions.filter(name => name !== schema)
  }

  /** Where a tenant's statements go. */
  home (tenant: Tenant, isolation: Isolation, statementTimeout: number): Home {
    if (this.#own === undefined) throw new InternalError('the database was not booted: await boot() first')
    const schema = isolation === 'schema' ? schemaOf(tenant) : undefined
    const hasRole = schema !== undefined || (isolation === 'rls' && this.#options.rls.context === 'role')
    const { pool, context } = hasRole ? this.#roles ?? this.#own : this.#own
    const borrower: Borrower = {
      tenant: tenant.id,
      context: rlsContext(tenant, {
        ...context,
        statementTimeout,
        ...(hasRole && { role: tenantRole(tenant.id, this.#name) }),
        // Policies ask for a signature; the privileges of a schema's role do not.
        ...(schema !== undefined && {
          extensions: this.extensions(schema),
          schema,
          sign: undefined,
          fence: context.fence && { ...context.fence, home: 'schema' }
        })
      }),
      guard: this.#options.database.tripwire ? this.#tripwire.guard(tenant.id) : undefined,
      deadline: statementTimeout + grace,
      statementTimeout,
      ...(schema !== undefined && { schema })
    }
    const compiler = schema === undefined
      ? this.#rows.compiler(tenant) ?? this.#compiler
      : new SchemaCompiler(schema, this.#qualifier, this.#harmless.home(schema))
    const gate = this.#gate
    if (gate === undefined || schema === undefined) return { acquire: () => pool.acquire(borrower), compiler }
    return {
      acquire: async () => {
        await gate.pass(tenant.id, schema, pool)
        return pool.acquire(borrower)
      },
      compiler
    }
  }
}

// Another login may lead through a pooler where the first does not.
async function bootRoles (
  pool: ConnectionPool,
  database: string
): Promise<{ readonly pool: ConnectionPool; readonly isDirect: boolean }> {
  const client = await pool.pool.connect()
  try {
    await assertMayTakeRoles(client, database)
    const { rows: [row] } = await client.query<{ pid: number }>('select pg_catalog.pg_backend_pid() as pid')
    const isDirect = row?.pid === Session.of(client).client.processID
    if (!isDirect) pool.becomePooled()
    await pool.settle(client)
    return { pool, isDirect }
  } finally {
    client.release()
  }
}

function namesOf ({ tenant, shared, global }: ResolvedTables): readonly string[] {
  return [...Object.keys(tenant), ...shared, ...global]
}

// Facts of the server that the operator can change, and that cost connections or leave a gap.
async function poolWarnings (client: SqlClient, isPooled: boolean, isImpossible: boolean): Promise<string[]> {
  const isUnreset = isPooled && await resetsBackends(client) === false
  return [...(isUnreset ? [unresetPooler] : []), ...(isImpossible ? [unresettable] : [])]
}
