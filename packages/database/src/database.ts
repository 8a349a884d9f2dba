import type { TenantRegistry, TenantScope } from '@fastify-tenancy/core'
import type pg from 'pg'

import { isEmbeddedPool, openPool, defaultPoolSettings } from './connection/open-pool.ts'
import { ConnectionPool } from './connection/pool.ts'
import { Session } from './connection/session.ts'
import { rlsContext, type ContextSettings } from './context.ts'
import { TenantDialect } from './kysely/dialect.ts'
import { TenantHandle } from './kysely/handle.ts'
import { reportLevel, type LevelReport } from './level.ts'
import type { ResolvedDatabaseOptions } from './options.ts'
import { postgresRegistry } from './registry/postgres-registry.ts'
import { assertInitialised } from './setup/assert-initialised.ts'
import { init } from './setup/init.ts'
import { rolesOf } from './setup/roles.ts'
import { signingKey, signToken } from './token.ts'
import type { RequestDatabase, TenantKysely } from './types.ts'

/** How the database does, from what was last seen. */
export interface DatabaseHealth {
  readonly status: 'ok' | 'down'
  /** Connections of this process, and callers that wait for one. */
  readonly connections: number
  readonly waiting: number
}

const handleKey = Symbol('fastify-tenancy.database')

/** Opens the pools of checked options. Nothing connects before {@link TenancyDatabase.boot}. */
export function openDatabase (options: ResolvedDatabaseOptions): TenancyDatabase {
  return new TenancyDatabase(options)
}

/** The connections of one application, and the handles that scopes get on them. */
export class TenancyDatabase {
  /** Where tenants are looked up. */
  readonly registry: TenantRegistry
  readonly #options: ResolvedDatabaseOptions
  readonly #pool: ConnectionPool
  readonly #registryPool: pg.Pool | undefined
  #context: ContextSettings | undefined
  #isEnded = false

  constructor (options: ResolvedDatabaseOptions) {
    this.#options = options
    const { url, pool: { max }, registryUrl, types } = options.database
    this.#pool = typeof url === 'string'
      ? new ConnectionPool(openPool(url, { ...defaultPoolSettings, max }), true, { names: true, types })
      : new ConnectionPool(url, false, { names: true, types })
    if (registryUrl !== undefined) {
      this.#registryPool = openPool(registryUrl, { ...defaultPoolSettings, max: registryConnections })
      this.#registryPool.on('error', () => {})
      this.#registryPool.on('connect', Session.of)
    }
    this.registry = postgresRegistry(this.#registryPool ?? this.#pool.pool)
  }

  /**
   * Connects once, and learns what every statement needs: the role, whether the database is set up, and whether
   * a backend can be told by its pid.
   *
   * @throws Error that says what to run, where the database is not initialised or below `requireLevel`.
   */
  async boot (): Promise<LevelReport> {
    const { database, rls, tables } = this.#options
    const { registryUrl, systemUrl, ownerUrl, requireLevel, plans, statementTimeout, lockTimeout, idleInTransaction } = database
    const signed = rls.secrets.length > 0
    const pool = this.#pool.pool
    const client = await pool.connect()
    try {
      // An embedded database is this process's own: there is nobody else to initialise it.
      if (isEmbeddedPool(pool)) await init(client, { signingSecrets: rls.secrets })
      await assertInitialised(client, { tables, signed, ...(rls.secrets[0] !== undefined && { key: signingKey(rls.secrets[0]) }) })
      const { rows: [row] } = await client.query<{ name: string, pid: number }>('select current_database() as name, pg_backend_pid() as pid')
      if (row === undefined) throw new Error('the database did not answer')
      this.#context = {
        role: rolesOf(row.name).app,
        schema: tables.schema,
        statementTimeout,
        lockTimeout,
        idleInTransaction,
        plans,
        sign: signer(rls.secrets[0], row.pid === Session.of(client).client.processID)
      }
      const report = await reportLevel(client, { hasRegistryLogin: registryUrl !== undefined, hasSystemLogin: systemUrl !== undefined, hasOwnerLogin: ownerUrl !== undefined, isSigned: signed })
      if (report.level < requireLevel) throw new Error(`the database reaches level L${report.level} and database.requireLevel asks for L${requireLevel}: ${report.reasons.join('; ')}`)
      return report
    } finally {
      client.release()
    }
  }

  /** The handle of a scope's tenant, the same at each call. It ends with the scope. */
  forScope (scope: TenantScope, statementTimeout?: number): TenantKysely {
    return scope.handle(handleKey, () => this.#makeHandle(scope, statementTimeout))
  }

  health (): DatabaseHealth {
    const { totalCount, waitingCount } = this.#pool.pool
    return { status: this.#isEnded ? 'down' : 'ok', connections: totalCount, waiting: waitingCount }
  }

  /** Ends the pools that were opened here; one that was passed in stays open. */
  async close (): Promise<void> {
    if (this.#isEnded) return
    this.#isEnded = true
    await Promise.all([this.#pool.close(), this.#registryPool?.end()])
  }

  #makeHandle (scope: TenantScope, statementTimeout: number | undefined): TenantKysely {
    if (this.#context === undefined) throw new Error('the database was not booted: await boot() first')
    const { plugins, log } = this.#options.database
    const settings = statementTimeout === undefined ? this.#context : { ...this.#context, statementTimeout }
    return new TenantHandle<RequestDatabase>({
      dialect: new TenantDialect({ scope, pool: this.#pool, context: rlsContext(scope.tenant, settings) }),
      plugins: [...plugins],
      ...(log !== undefined && { log })
    })
  }
}

/** Look-ups are short and cached: a few connections serve any load that the cap on them lets through. */
const registryConnections = 4

/** @param isDirect whether a connection always speaks with the same backend, so that a token may be bound to it. */
function signer (secret: string | undefined, isDirect: boolean): ContextSettings['sign'] {
  if (secret === undefined) return undefined
  const key = signingKey(secret)
  return (tenant, pid) => signToken({ key, tenant, pid: isDirect ? pid : null })
}
