import type { Tenant } from '@fastify-tenancy/core'
import type pg from 'pg'

import type { Borrower, Lease, LeaseSettings } from './connection/lease.ts'
import { defaultPoolSettings, isEmbeddedPool, openPool } from './connection/open-pool.ts'
import { ConnectionPool } from './connection/pool.ts'
import { Session } from './connection/session.ts'
import { readTenantColumns, Tripwire } from './connection/tripwire.ts'
import { rlsContext, type ContextSettings } from './context.ts'
import { reportLevel, type LevelReport } from './level.ts'
import type { ResolvedDatabaseOptions } from './options.ts'
import type { RowCompiler } from './row/compiler.ts'
import { rowRole } from './row/role.ts'
import { RowStrategy } from './row/strategy.ts'
import { assertInitialised } from './setup/assert-initialised.ts'
import { init } from './setup/init.ts'
import { rolesOf } from './setup/roles.ts'
import { signingKey, signToken } from './token.ts'

/** How long past the server's own timeout an answer may take, in milliseconds, before the connection is given up. */
const grace = 5_000

/** Where one tenant's statements go, by its isolation. */
export interface Home {
  /** Borrows a connection on which each statement speaks for the tenant. */
  acquire (): Promise<Lease>
  /** A compiler of the tenant's own, where its queries are rewritten. */
  readonly compiler: RowCompiler | undefined
}

/** One database with shared tables, and the application's connections to it. */
export class Shard {
  readonly pool: ConnectionPool
  readonly #options: ResolvedDatabaseOptions
  readonly #tripwire: Tripwire
  readonly #rows: RowStrategy
  #context: ContextSettings | undefined

  /** @param source a URL, or a pool that its caller closes. */
  constructor (source: string | pg.Pool, options: ResolvedDatabaseOptions) {
    const { pool: { max }, types, fairness } = options.database
    const settings: LeaseSettings = { names: true, types }
    this.#options = options
    this.#rows = new RowStrategy(options)
    this.pool = typeof source === 'string'
      ? new ConnectionPool(openPool(source, { ...defaultPoolSettings, max }), true, settings, fairness)
      : new ConnectionPool(source, false, settings, fairness)
    this.#tripwire = new Tripwire(() => readTenantColumns(this.pool.pool, options.tables.schema, options.tables.tenant))
  }

  /**
   * Connects once, and learns what every statement needs: the role, whether the database is set up, and whether
   * a backend can be told by its pid.
   *
   * @throws FST_TENANCY_SETUP_INVALID that says what to run, where the database is not initialised
   */
  async boot (): Promise<LevelReport> {
    const { database, isolation, rls, registry, tables } = this.#options
    // Where all queries are rewritten, no policy is needed; and where tenants are looked up elsewhere, nothing of ours.
    const needsPolicies = isolation !== 'row'
    const needsInit = needsPolicies || registry === undefined
    const key = rls.secrets[0] === undefined ? undefined : signingKey(rls.secrets[0])
    const client = await this.pool.pool.connect()
    try {
      // An embedded database is this process's own: there is nobody else to initialise it.
      if (isEmbeddedPool(this.pool.pool)) await init(client, { signingSecrets: rls.secrets })
      if (needsInit) await assertInitialised(client, { tables: needsPolicies ? tables : { ...tables, tenant: {} }, signed: key !== undefined, ...(key !== undefined && { key }) })
      await this.#rows.boot(client)
      const { rows: [row] } = await client.query<{ name: string, pid: number }>('select current_database() as name, pg_backend_pid() as pid')
      if (row === undefined) throw new Error('the database did not answer')
      // Behind a pooler the pid changes from one transaction to the next, and a token must not be bound to it.
      const isDirect = row.pid === Session.of(client).client.processID
      const { statementTimeout, lockTimeout, idleInTransaction, plans } = database
      this.#context = {
        role: needsInit ? rolesOf(row.name).app : await rowRole(client, row.name),
        schema: tables.schema,
        statementTimeout,
        lockTimeout,
        idleInTransaction,
        plans,
        sign: key && ((tenant, pid) => signToken({ key, tenant, pid: isDirect ? pid : null }))
      }
      return await reportLevel(client, {
        hasRegistryLogin: database.registryUrl !== undefined,
        hasSystemLogin: database.systemUrl !== undefined,
        hasOwnerLogin: database.ownerUrl !== undefined,
        isSigned: key !== undefined
      })
    } finally {
      client.release()
      if (this.#context !== undefined) await this.#tripwire.refresh()
    }
  }

  /** Where a tenant's statements go. */
  home (tenant: Tenant, statementTimeout: number = this.#options.database.statementTimeout): Home {
    if (this.#context === undefined) throw new Error('the database was not booted: await boot() first')
    const borrower: Borrower = {
      tenant: tenant.id,
      context: rlsContext(tenant, { ...this.#context, statementTimeout }),
      guard: this.#options.database.tripwire ? this.#tripwire.guard(tenant.id) : undefined,
      deadline: statementTimeout + grace
    }
    return { acquire: () => this.pool.acquire(borrower), compiler: this.#rows.compiler(tenant) }
  }
}
