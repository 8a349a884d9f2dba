import type { Isolation, TenantRegistry } from '@fastify-tenancy/core'
import type { TenantsOptions, ResolvedTenantsOptions } from '@fastify-tenancy/postgres/placement'
import type { ResolvedTables, TablesOptions } from '@fastify-tenancy/postgres/tables'
import type { KyselyPlugin, LogConfig } from 'kysely'
import type pg from 'pg'

import type { Audit } from './audit.ts'
import type { BudgetOptions, ShardOptions } from './placement-options.ts'

/** The location of the data, and the behaviour of connections to it. */
export interface DatabaseConnectionOptions {
  /**
   * The application's login. It can become the role of tenants' statements, and should be able to
   * become no other. Undefined stops the boot, so that a missing environment variable is noticed.
   */
  readonly url: string | pg.Pool | undefined
  /**
   * The login that may become the roles of tenants: those of strategy `schema`, and all tenants if
   * `rls.context` is `'role'`. SQL injected into another tenant's statement then cannot take such a
   * role. @default the login of `url`
   */
  readonly tenantRolesUrl?: string | undefined
  /**
   * The login of the global tables (`app.tenancy.global`), which may become `tenancy_global` only.
   * @default the login of `systemUrl`, or of `url` without it
   */
  readonly globalUrl?: string | undefined
  /** The login that looks tenants up. @default the login of `url` */
  readonly registryUrl?: string | undefined
  /** The login of work across tenants. @default none: asSystem() is refused */
  readonly systemUrl?: string | undefined
  /** The login of migrations and of the manager. The plugin never connects with it. */
  readonly ownerUrl?: string | undefined
  /**
   * More databases for tenants of the strategies `rls`, `row` and `schema`, by the name in
   * `placement.shard`. `'default'` is `url`. @default none
   */
  readonly shards?: Readonly<Record<string, string | pg.Pool | ShardOptions>>
  /** The databases of tenants of strategy `database`. @default none */
  readonly tenants?: TenantsOptions
  /**
   * Most connections that this process may open, over all pools except the registry's look-ups (4).
   * @default { connections: 100, whenFull: 'evict' }
   */
  readonly budget?: number | BudgetOptions
  /** `max`: connections per process and shard. @default { max: 10 } */
  readonly pool?: { readonly max?: number }
  /** Kysely plugins for `request.db`. @default none */
  readonly plugins?: readonly KyselyPlugin[]
  /** Kysely's `log`. @default off */
  readonly log?: LogConfig
  /** Type parsers, as `pg` takes them. @default pg's own */
  readonly types?: pg.CustomTypesConfig
  /** Longest run time of one statement. @default '30s' */
  readonly statementTimeout?: string | StatementTimeouts
  /** Longest wait of one statement for a lock. @default '5s' */
  readonly lockTimeout?: string
  /** Longest time that a transaction may be idle. @default '10s' */
  readonly idleInTransaction?: string
  /**
   * `'custom'`: each statement is planned for its own tenant. `'shared'`: all tenants of a
   * connection share cached plans. @default 'custom'
   */
  readonly plans?: 'custom' | 'shared'
  /**
   * When a connection is reset between tenants. `'auto'`: unless every statement on it is proved
   * harmless. `'always'`: at every change of tenant. @default 'auto'
   */
  readonly reset?: 'auto' | 'always'
  /** How tenants share the connections of a pool. */
  readonly fairness?: FairnessOptions
  /**
   * Stops a row whose tenant column holds another tenant's id, even if the policies allow it.
   * @default true
   */
  readonly tripwire?: boolean
  /**
   * Shows the tenant's id in `application_name`, and so in `pg_stat_activity`, while its statement
   * runs. @default false
   */
  readonly tagStatements?: boolean
  /** Refuses to start below this level of separation of logins. @default 0 */
  readonly requireLevel?: 0 | 1 | 2 | 3 | 4
  /**
   * The name of the migration that the tables of a tenant of strategy `schema` or `database` need.
   * Without it the tenant gets FST_TENANCY_TENANT_NOT_READY. Checked once per tenant and process.
   * @default none
   */
  readonly requireMigration?: string
  /**
   * The reaction to gaps between tenants that are found at boot, such as a table without its
   * policy. `'warn'` logs them. `'refuse'` also refuses to start under NODE_ENV=production. `false`
   * skips the checks. @default 'warn'
   */
  readonly doctor?: 'refuse' | 'warn' | false
  /**
   * The pools of the old login, for an application that is being adopted. Their queries on listed
   * tables will break, so they are reported by route and shape. Refused queries of `request.db` are
   * reported, too. @default nothing is reported
   */
  readonly observe?: readonly pg.Pool[]
  /** Lets PGlite run under NODE_ENV=production. @default false */
  readonly allowEmbedded?: boolean
}

/** Longest run time of one statement, by the tenant's plan. */
export interface StatementTimeouts {
  /** For tenants whose plan is not listed. @default '30s' */
  readonly default?: string
  readonly plans: Readonly<Record<string, string>>
}

/** How tenants share the connections of a pool. */
export interface FairnessOptions {
  /**
   * The fraction of a pool that one tenant may hold while other tenants wait: above 0, at most 1.
   * @default 0.5
   */
  readonly share?: number
  /**
   * How many callers of one tenant may wait. Further callers get FST_TENANCY_DATABASE_BUSY.
   * @default 100
   */
  readonly maxWaiting?: number
  /** Longest wait, after which the caller gets FST_TENANCY_DATABASE_BUSY. @default '5s' */
  readonly maxWait?: string
}

/** Options of strategy `rls`. */
export interface RlsOptions {
  /**
   * Signs each context, so that injected SQL cannot act for another tenant. At least 32 characters.
   * Give two secrets while one replaces the other, the new one first. `tenancy init` installs the
   * verification. @default none: the context stops mistakes, not attackers
   */
  readonly secret?: string | readonly [string, string] | undefined
  /** Rewrites queries as strategy `row` does, on top of the policies. @default false */
  readonly filter?: boolean
  /**
   * How the policies identify the tenant. `'setting'`: by a setting of the transaction. `'role'`:
   * also by a database role per tenant, for up to about 500 tenants per login. @default 'setting'
   */
  readonly context?: 'setting' | 'role'
}

/** Options of strategy `row`, and of `rls.filter`. */
export interface RowOptions {
  /**
   * Names of functions that queries may call in addition to the default ones. None of them may read
   * a tenant table. @default none
   */
  readonly functions?: readonly string[]
}

/** Options of the plugin `tenantDatabase`. */
export interface TenantDatabaseOptions {
  /**
   * A URL (`postgres://…`, `pglite://memory`, `pglite://./folder`), a `pg.Pool`, or an object with
   * these and more. Undefined stops the boot.
   */
  readonly database: string | pg.Pool | DatabaseConnectionOptions | undefined
  /** The strategy for tenants. @default 'rls' */
  readonly isolation?: Isolation
  readonly rls?: RlsOptions
  readonly row?: RowOptions
  readonly tables?: TablesOptions
  /** The registry of tenants. @default the registry on `database` */
  readonly registry?: TenantRegistry
  /**
   * Records work across tenants before its first statement. If it throws, the work is refused.
   * @default none: asSystem() is refused
   */
  readonly audit?: Audit
  /** The name of `request.db`. @default 'db' */
  readonly decorator?: string
}

/** {@link TenantDatabaseOptions}, checked and with defaults. Durations are in milliseconds. */
export interface ResolvedDatabaseOptions {
  readonly database: {
    readonly url: string | pg.Pool
    readonly tenantRolesUrl: string | undefined
    readonly globalUrl: string | undefined
    readonly registryUrl: string | undefined
    readonly systemUrl: string | undefined
    readonly ownerUrl: string | undefined
    readonly shards: Readonly<Record<string, ShardOptions>>
    /** Undefined if no tenant may have its own database. */
    readonly tenants: ResolvedTenantsOptions | undefined
    readonly budget: { readonly connections: number; readonly whenFull: 'wait' | 'evict' | 'reject' }
    readonly pool: { readonly max: number }
    readonly plugins: readonly KyselyPlugin[]
    readonly log: LogConfig | undefined
    readonly types: pg.CustomTypesConfig | undefined
    readonly statementTimeout: number
    /** By plan, for plans that differ from the default. */
    readonly planTimeouts: Readonly<Record<string, number>>
    readonly lockTimeout: number
    readonly idleInTransaction: number
    readonly plans: 'custom' | 'shared'
    readonly reset: 'auto' | 'always'
    /** Times in milliseconds. */
    readonly fairness: { readonly share: number; readonly maxWaiting: number; readonly maxWait: number }
    readonly tripwire: boolean
    readonly tagStatements: boolean
    readonly requireLevel: number
    readonly requireMigration: string | undefined
    readonly doctor: 'refuse' | 'warn' | false
    readonly observe: readonly pg.Pool[] | undefined
    readonly allowEmbedded: boolean
  }
  readonly isolation: Isolation
  readonly rls: {
    /** The newest first; none where contexts are not signed. */
    readonly secrets: readonly string[]
    readonly filter: boolean
    readonly context: 'setting' | 'role'
  }
  readonly row: { readonly functions: readonly string[] }
  readonly tables: ResolvedTables
  readonly registry: TenantRegistry | undefined
  readonly audit: Audit | undefined
  readonly decorator: string
}
