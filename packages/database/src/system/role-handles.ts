import { SetupInvalidError, DatabaseUnavailableError } from '@fastify-tenancy/postgres'
import { isEmbeddedPool, isServerError } from '@fastify-tenancy/postgres/client'
import { rolesOf } from '@fastify-tenancy/postgres/roles'
import type { CompiledQuery } from 'kysely'

import { ConnectionState } from '../connection/connection-state.ts'
import type { ConnectionPool } from '../connection/pool.ts'
import type { TenantConnection, Query } from '../connection/tenant-connection.ts'
import { systemContext } from '../context/system-context.ts'
import type { Judge } from '../harmless/judge.ts'
import { JudgingCompiler } from '../harmless/judging-compiler.ts'
import { TenantDialect } from '../kysely/dialect.ts'
import { TenantDriver } from '../kysely/driver.ts'
import { TenantHandle } from '../kysely/handle.ts'
import { DatabaseBusyError, QueryRefusedError } from '../options/errors.ts'
import type { ResolvedDatabaseOptions } from '../options/options.ts'
import { replyMarginMs } from '../routing/shard.ts'
import type { SystemScope } from './scope.ts'

/** The role of the handles, and the option of their login, for messages. */
interface RoleHandleSettings {
  readonly role: 'system' | 'global'
  /** `'options.database.systemUrl'` */
  readonly source: string
  readonly options: ResolvedDatabaseOptions
  /** Judges the statements. @default no statement counts as harmless */
  readonly judge?: Judge
}

/** Kysely handles on one login. Their statements run as a role of the suite, without a tenant. */
export class RoleHandles {
  readonly pool: ConnectionPool
  readonly #settings: RoleHandleSettings
  #role: Promise<string> | undefined
  #count = 0

  constructor (pool: ConnectionPool, settings: RoleHandleSettings) {
    this.pool = pool
    this.#settings = settings
  }

  /** Returns a handle that ends with `scope`. Nothing is opened before its first statement. */
  open<Database> (scope: SystemScope, isReadOnly: boolean): TenantHandle<Database> {
    const { plugins, log } = this.#settings.options.database
    // The owner name has a colon, which no tenant id contains, so each handle gets its own turn in
    // the queue.
    const turn = `${this.#settings.role}:${++this.#count}`
    const { judge } = this.#settings
    const compiler = judge && new JudgingCompiler(() => judge)
    const driver = new TenantDriver({
      scope,
      acquire: () => this.#acquire(turn, isReadOnly),
      statementOf,
      isHarmless: compiler?.isHarmless
    })
    return new TenantHandle<Database>({
      dialect: new TenantDialect(driver, compiler),
      plugins: [...plugins],
      ...(log !== undefined && { log })
    })
  }

  async #acquire (turn: string, isReadOnly: boolean): Promise<TenantConnection> {
    const { database, tables } = this.#settings.options
    const context = systemContext({
      ...database,
      role: await this.#roleName(),
      schema: tables.schema,
      isReadOnly
    })
    return this.pool.acquire({
      tenant: turn,
      context,
      guard: undefined,
      isReadOnly,
      deadline: database.statementTimeout + replyMarginMs,
      statementTimeout: database.statementTimeout
    })
  }

  #roleName (): Promise<string> {
    this.#role ??= this.#readRole().catch((error: unknown) => {
      this.#role = undefined
      throw error
    })
    return this.#role
  }

  // The roles' names contain the database name on the server, which may differ from the name in a
  // pooler's URL.
  async #readRole (): Promise<string> {
    const { role, source } = this.#settings
    // Tenants use these connections, too, so run as a look-up: it resets a touched connection
    // first.
    const row = this.pool.isSettled
      ? (await this.pool.lookUps.query<LoginFacts>(text).catch(explain)).rows[0]
      : await this.#settle()
    const name = rolesOf(row?.database ?? '')[role]
    if (row?.roles.includes(name)) return name
    const remedy = role === 'system' || source.endsWith('globalUrl')
      ? ''
      : 'give options.database.globalUrl, and '
    throw new SetupInvalidError(
      `the login of ${source} may not become the role of ${
        role === 'system' ? 'work across tenants' : 'the global tables'
      }: ${remedy}run \`tenancy init\` with it`
    )
  }

  /** Boots a pool of the handles' own at its first use. */
  async #settle (): Promise<LoginFacts | undefined> {
    const client = await this.pool.pool.connect().catch(explain)
    try {
      const { rows: [row] } = await client.query<LoginFacts>(text).catch(explain)
      if (row?.pid !== ConnectionState.of(client).client.processID && !isEmbeddedPool(this.pool.pool))
        this.pool.becomePooled()
      await this.pool.readResetRules(client)
      await this.pool.settle(client)
      return row
    } finally {
      client.release()
    }
  }
}

interface LoginFacts {
  readonly database: string
  readonly pid: number
  readonly roles: string[]
}

// The roles that the login may become. Since PostgreSQL 16, membership and the right to SET ROLE
// are separate.
const text = `
select pg_catalog.current_database()::text as database, pg_catalog.pg_backend_pid() as pid, array(
  select rolname::text from pg_catalog.pg_roles where rolname like 'tenancy\\_%' and pg_catalog.pg_has_role(
    session_user, oid,
    case when pg_catalog.current_setting('server_version_num')::int >= 160000
      then 'SET' else 'MEMBER' end)
) as roles`

function explain (error: unknown): never {
  throw isServerError(error) || error instanceof DatabaseBusyError
    ? error
    : new DatabaseUnavailableError(undefined, { cause: error })
}

const sessionWords = new RegExp(
  'set_config|pg_settings|pg_(?:try_)?advisory_|pg_(?:terminate|cancel)_backend|' +
    '(?:query|cursor|table|schema|database)_to_xml|ts_stat|ts_rewrite|crosstab|dblink|U&["\']',
  'i'
)

/*
 * The login of these handles may become several roles, and injected SQL may do so, too. This
 * refuses texts that name a known way. A function of the application can hide one, so the login's
 * privileges are the real limit.
 */
function statementOf ({ sql, parameters }: CompiledQuery): Query {
  if (sessionWords.test(sql)) {
    throw new QueryRefusedError(
      'A handle across tenants runs no statement that names a function or view by which a session is ' +
        'changed (set_config, pg_settings, advisory locks, query_to_xml, dblink and similar): ' +
        'remove that name from the statement'
    )
  }
  return { text: sql, values: parameters }
}
