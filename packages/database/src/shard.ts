import { tenantRole, type Isolation, type Tenant } from '@fastify-tenancy/core'
import type { CompiledQuery, QueryCompiler } from 'kysely'

import type { Borrower, Lease, Query } from './connection/lease.ts'
import { defaultPoolSettings, isEmbeddedPool } from './connection/open-pool.ts'
import { ConnectionPool } from './connection/pool.ts'
import { resetsBackends, unresetPooler } from './connection/pooler.ts'
import { unresettable } from './connection/reset.ts'
import { Session } from './connection/session.ts'
import { readTenantColumns, Tripwire } from './connection/tripwire.ts'
import { rlsContext, type ContextSettings } from './context.ts'
import { bootWarnings, checkBoot } from './doctor/boot.ts'
import type { DoctorInput } from './doctor/index.ts'
import { HarmlessCatalog } from './harmless/catalog.ts'
import type { Judge } from './harmless/judge.ts'
import { JudgingCompiler } from './harmless/judging-compiler.ts'
import { readOwnPolicies } from './harmless/own-policies.ts'
import { reportLevel, type LevelReport } from './level.ts'
import type { ResolvedDatabaseOptions, ResolvedTables } from './options.ts'
import { rowRole } from './row/role.ts'
import { RowStrategy } from './row/strategy.ts'
import { assertInitialised } from './setup/assert-initialised.ts'
import { init } from './setup/init.ts'
import { listTables } from './setup/list-tables.ts'
import { rolesOf } from './setup/roles.ts'
import type { SqlClient } from './setup/sql-client.ts'
import type { ConnectionBudget } from './strategies/budget.ts'
import { MigrationGate } from './strategies/migration-gate.ts'
import { hasOwnLogins, type ShardOptions } from './strategies/options.ts'
import { schemaOf } from './strategies/placement.ts'
import { FenceEpochs, hasFences } from './strategies/fences.ts'
import { SchemaQualifier } from './strategies/qualifier.ts'
import { SchemaCompiler } from './strategies/schema-compiler.ts'
import { Signer, signingKey } from './token.ts'

/** How long past the server's own timeout an answer may take, in milliseconds, before the connection is given up. */
export const grace = 5_000

/** Where one tenant's statements go, by its isolation. */
export interface Home {
  /** Borrows a connection on which each statement speaks for the tenant. */
  acquire (): Promise<Lease>
  /** A compiler of the tenant's own, where its queries are rewritten. */
  readonly compiler: HomeCompiler | undefined
}

export interface HomeCompiler extends QueryCompiler {
  /** What is sent for a compiled query; throws where it may not run here. @default its own text and parameters */
  readonly statementOf?: (query: CompiledQuery) => Query
  /** Whether a compiled query is proved to change and read nothing of its session. @default none is */
  readonly isHarmless?: (query: CompiledQuery) => boolean
}

/** One database with shared tables and schemas of tenants, and the application's connections to it. */
export class Shard {
  readonly pool: ConnectionPool
  readonly #options: ResolvedDatabaseOptions
  readonly #logins: ShardOptions
  readonly #tripwire: Tripwire
  readonly #rows: RowStrategy
  readonly #qualifier: SchemaQualifier
  readonly #gate: MigrationGate | undefined
  readonly #harmless: HarmlessCatalog
  readonly #compiler: JudgingCompiler
  #doctorInput: DoctorInput | undefined
  #tables: ResolvedTables
  #name = ''
  #context: ContextSettings | undefined

  constructor (logins: ShardOptions, options: ResolvedDatabaseOptions, budget: ConnectionBudget) {
    const { url } = logins
    const { pool: { max }, types, reset, fairness } = options.database
    this.#options = options
    this.#logins = logins
    this.#tables = options.tables
    this.#qualifier = new SchemaQualifier({ names: new Set(options.tables.shared), schema: options.tables.schema })
    this.#gate = options.database.requireMigration === undefined ? undefined : new MigrationGate(options.database.requireMigration)
    this.pool = new ConnectionPool(typeof url === 'string' ? budget.openPool(url, { ...defaultPoolSettings, max }) : url, typeof url === 'string', { types, reset }, fairness)
    this.#harmless = new HarmlessCatalog(this.pool, {
      schema: options.tables.schema,
      tables: () => namesOf(this.#tables),
      ownPolicies: async client => this.#doctorInput === undefined ? new Set() : readOwnPolicies(client, this.#doctorInput),
      functions: options.row.functions,
      others: () => [],
      hasEpoch: () => this.#context?.fence !== undefined
    })
    this.pool.onCatalogChanged = () => this.#harmless.expire()
    this.#compiler = new JudgingCompiler(() => this.#harmless.judge)
    this.#rows = new RowStrategy(options, this.#harmless.judge)
    this.#tripwire = new Tripwire(this.pool.catalog, async (client, only) => {
      // Once a minute, because an extension may come after the boot.
      if (only === undefined) await this.pool.readResetRules(client)
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
    const key = rls.secrets[0] === undefined ? undefined : signingKey(rls.secrets[0])
    const client = await this.pool.pool.connect()
    try {
      // An embedded database is this process's own: there is nobody else to initialise it.
      if (isEmbeddedPool(this.pool.pool)) await init(client, { signingSecrets: rls.secrets })
      const tables = this.#tables = await listTables(client, this.#options.tables)
      if (needsInit) await assertInitialised(client, { tables: needsPolicies ? tables : { ...tables, tenant: {} }, signed: key !== undefined, context: rls.context, ...(key !== undefined && { key }) })
      await this.#rows.boot(client, tables)
      const { rows: [row] } = await client.query<{ name: string, login: string, pid: number }>('select current_database() as name, session_user as login, pg_backend_pid() as pid')
      if (row === undefined) throw new Error('the database did not answer')
      this.#name = row.name
      // Behind a pooler the backend changes from one transaction to the next: a token must not be bound to its pid,
      // and a statement must not be named.
      const isDirect = row.pid === Session.of(client).client.processID
      const isPooled = !isDirect && !isEmbeddedPool(this.pool.pool)
      if (isPooled) this.pool.becomePooled()
      const { isImpossible } = await this.pool.readResetRules(client)
      const { statementTimeout, lockTimeout, idleInTransaction, plans } = database
      const signer = key && new Signer(key)
      this.#context = {
        role: needsInit ? rolesOf(row.name).app : await rowRole(client, row.name),
        schema: tables.schema,
        statementTimeout,
        lockTimeout,
        idleInTransaction,
        plans,
        sign: signer && ((tenant, pid) => signer.sign(tenant, isDirect ? pid : null)),
        fence: await hasFences(client) ? { home: 'shared', epochs: new FenceEpochs() } : undefined,
        catalogEpoch: () => this.#harmless.epoch
      }
      const report = await reportLevel(client, {
        hasRegistryLogin: database.registryUrl !== undefined,
        hasSystemLogin: this.#logins.systemUrl !== undefined,
        hasOwnerLogin: this.#logins.ownerUrl !== undefined,
        isSigned: key !== undefined,
        hasTenantLogins: isolation === 'database' && hasOwnLogins(database.tenants)
      })
      // Where nothing of ours is set up, there is nothing to hold it against.
      const doctorInput: DoctorInput = { database: row.name, login: row.login, tables, signed: key !== undefined, context: rls.context, rewritten: isolation === 'row' }
      this.#doctorInput = doctorInput
      const findings = database.doctor === false || !needsInit ? [] : await checkBoot(client, doctorInput)
      await this.pool.settle(client)
      return { ...report, findings, warnings: [...bootWarnings(findings), ...await poolWarnings(client, isPooled, isImpossible)] }
    } finally {
      // These queries are the suite's own and left nothing: no reset is due before the first tenant.
      Session.of(client).claim()
      client.release()
      if (this.#context !== undefined) {
        await this.#tripwire.refresh()
        await this.#harmless.refresh()
      }
    }
  }

  /** Takes what is known of the catalog for old: the prepared statements of every connection, and which statements are harmless. */
  forgetNames (): void {
    this.pool.forgetNames()
    this.#harmless.expire()
  }

  /** Judges statements on the schema of the tables that tenants share. */
  get judge (): Judge {
    return this.#harmless.judge
  }

  /** Where a tenant's statements go. */
  home (tenant: Tenant, isolation: Isolation, statementTimeout: number): Home {
    if (this.#context === undefined) throw new Error('the database was not booted: await boot() first')
    const schema = isolation === 'schema' ? schemaOf(tenant) : undefined
    const hasRole = schema !== undefined || (isolation === 'rls' && this.#options.rls.context === 'role')
    const borrower: Borrower = {
      tenant: tenant.id,
      context: rlsContext(tenant, {
        ...this.#context,
        statementTimeout,
        ...(hasRole && { role: tenantRole(tenant.id, this.#name) }),
        // Policies ask for a signature; the privileges of a schema's role do not.
        ...(schema !== undefined && { schema, sign: undefined, fence: this.#context.fence && { ...this.#context.fence, home: 'schema' } })
      }),
      guard: this.#options.database.tripwire ? this.#tripwire.guard(tenant.id) : undefined,
      deadline: statementTimeout + grace,
      ...(schema !== undefined && { schema })
    }
    const compiler = schema === undefined
      ? this.#rows.compiler(tenant) ?? this.#compiler
      : new SchemaCompiler(schema, this.#qualifier, this.#harmless.home(schema))
    const gate = this.#gate
    if (gate === undefined || schema === undefined) return { acquire: () => this.pool.acquire(borrower), compiler }
    return {
      acquire: async () => {
        await gate.pass(tenant.id, schema, this.pool)
        return this.pool.acquire(borrower)
      },
      compiler
    }
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
