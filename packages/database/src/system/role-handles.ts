import type { CompiledQuery } from 'kysely'

import type { Lease, Query } from '../connection/lease.ts'
import type { ConnectionPool } from '../connection/pool.ts'
import { isServerError } from '../connection/pg-internals.ts'
import { DatabaseUnavailableError, QueryRefusedError } from '../errors.ts'
import { TenantDialect } from '../kysely/dialect.ts'
import { TenantDriver } from '../kysely/driver.ts'
import { TenantHandle } from '../kysely/handle.ts'
import type { ResolvedDatabaseOptions } from '../options.ts'
import { SetupInvalidError } from '../setup/errors.ts'
import { rolesOf } from '../setup/roles.ts'
import { readStatement } from '../statement.ts'
import { systemContext } from './context.ts'
import type { SystemScope } from './scope.ts'

/** How long past the server's own timeout an answer may take, in milliseconds, before the connection is given up. */
const grace = 5_000

/** Which role, and where the login is from, for a message. */
export interface RoleSettings {
  readonly role: 'system' | 'global'
  /** `'options.database.systemUrl'` */
  readonly source: string
  readonly options: ResolvedDatabaseOptions
}

/** Kysely handles on one login, whose statements run as a role of the suite's own and for no tenant. */
export class RoleHandles {
  readonly pool: ConnectionPool
  readonly #settings: RoleSettings
  #role: Promise<string> | undefined
  #count = 0

  constructor (pool: ConnectionPool, settings: RoleSettings) {
    this.pool = pool
    this.#settings = settings
  }

  /** A handle that ends with `scope`. Nothing is opened before its first statement. */
  open<Database> (scope: SystemScope, isReadOnly: boolean): TenantHandle<Database> {
    const { plugins, log } = this.#settings.options.database
    // No tenant's id has a colon: each handle waits for connections in a turn of its own.
    const turn = `${this.#settings.role}:${++this.#count}`
    const driver = new TenantDriver({ scope, acquire: () => this.#acquire(turn, isReadOnly), statementOf })
    return new TenantHandle<Database>({
      dialect: new TenantDialect(driver),
      plugins: [...plugins],
      ...(log !== undefined && { log })
    })
  }

  async #acquire (turn: string, isReadOnly: boolean): Promise<Lease> {
    const { database, tables } = this.#settings.options
    const context = systemContext({ ...database, role: await this.#roleName(), schema: tables.schema, isReadOnly })
    return this.pool.acquire({ tenant: turn, context, guard: undefined, deadline: database.statementTimeout + grace })
  }

  #roleName (): Promise<string> {
    this.#role ??= this.#readRole().catch((error: unknown) => {
      this.#role = undefined
      throw error
    })
    return this.#role
  }

  // The roles carry the name of the database as the server knows it, which behind a pooler is not that of the URL.
  async #readRole (): Promise<string> {
    const { role, source } = this.#settings
    const { rows: [row] } = await this.pool.pool.query<{ database: string, roles: string[] }>(text).catch(explain)
    const name = rolesOf(row?.database ?? '')[role]
    if (!row?.roles.includes(name)) throw new SetupInvalidError(`the login of ${source} may not become the role of ${role === 'system' ? 'work across tenants' : 'the global tables'}: give options.database.systemUrl, and run \`tenancy init\` with it`)
    return name
  }
}

// What the login may become. From 16 on, membership and the right to SET ROLE are two things.
const text = `
select pg_catalog.current_database()::text as database, array(
  select rolname::text from pg_catalog.pg_roles where rolname like 'tenancy\\_%' and pg_catalog.pg_has_role(
    session_user, oid, case when pg_catalog.current_setting('server_version_num')::int >= 160000 then 'SET' else 'MEMBER' end)
) as roles`

function explain (error: unknown): never {
  throw isServerError(error) ? error : new DatabaseUnavailableError(undefined, { cause: error })
}

/*
 * The login of these handles may become more than one role, and so may what is injected into a statement: no text passes
 * that could set one, by a function's name, by a view, or through a function that runs a text.
 */
function statementOf ({ sql, parameters }: CompiledQuery): Query {
  if (readStatement(sql).mayChangeSession) {
    throw new QueryRefusedError('A handle across tenants runs no statement that names a function or view by which a session is changed: set_config, pg_settings, advisory locks, query_to_xml, dblink and the like')
  }
  return { text: sql, values: parameters }
}
