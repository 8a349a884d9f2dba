export type * from './augment.ts'
export { default, tenantDatabase, type OpenDatabaseOptions } from './plugin.ts'

export { openPool, type PoolSettings } from '@fastify-tenancy/postgres/client'

export { openDatabase, DatabaseRuntime, type PgMaker } from './database.ts'
export type { DatabaseHealth } from './health/database-health.ts'
export type { ServerStatus } from './health/pool-pulse.ts'
export { AuditFailedError, DatabaseBusyError, IsolationBreachError,
  QueryRefusedError } from './options/errors.ts'
export { DatabaseConflictError, DatabaseConstraintError, DatabaseError, DatabaseRetryError,
  DatabaseValueError, toHttpError } from './http-error.ts'
export { type DatabaseConnectionOptions, type FairnessOptions, type RlsOptions, type RowOptions,
  type StatementTimeouts, type TenantDatabaseOptions } from './options/options.ts'
// Types that `DatabaseRuntime` returns, so that a user's own function may return them.
export type { Reply } from './connection/batch-end.ts'
export type { TenantConnection, Query } from './connection/tenant-connection.ts'
export type { Field } from '@fastify-tenancy/postgres/client'
export type { KyselyConnection } from './kysely/kysely-connection.ts'
export type { UnitOfWork } from './kysely/unit-of-work.ts'
export type { SystemAccessOptions, SystemWork } from './system/access.ts'
export type { GlobalDatabase, GlobalKysely, ReadOnly, Registered, RequestDatabase, SharedTable, SystemKysely,
  TenantDatabase, TenantKysely, TenantTable, UntypedDatabase } from './options/types.ts'
export type { ObservedQueries, ObservedQuery } from './observe/observed-queries.ts'

export { type Level, type LevelReport } from '@fastify-tenancy/postgres/doctor'
export { postgresRegistry, type PostgresRegistryOptions } from '@fastify-tenancy/postgres/registry'
export { tableRegistry, type TableColumns,
  type TableRegistryOptions } from '@fastify-tenancy/postgres/registry'
export { type OpenListener } from '@fastify-tenancy/postgres/registry'

export { SetupInvalidError, DatabaseUnavailableError } from '@fastify-tenancy/postgres'

export { type TenantsOptions } from '@fastify-tenancy/postgres/placement'
export type { BudgetOptions, ShardOptions, WhenFull } from './options/placement-options.ts'

export type { ListedViews, TablesOptions } from '@fastify-tenancy/postgres/tables'

export type { AuditEvent, Audit } from './options/audit.ts'
// The migrations that `tenancy init --print --format kysely` prints call it.
export { rolesOf, type Roles } from '@fastify-tenancy/postgres/roles'
