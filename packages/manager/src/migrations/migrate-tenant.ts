import type { TenantRecord } from '@fastify-tenancy/core'
import { inTransaction, type SqlClient } from '@fastify-tenancy/postgres/client'

import type { ManagerContext } from '../context/context.ts'
import { tenantLock } from '../context/locks.ts'
import { withClient } from '../context/shard-pools.ts'
import { bringUp, retryLocks } from './bring-up.ts'
import { Connection } from './connection.ts'
import { becomeOwner, copyLedger, recordFailure, type LedgerEntry } from './ledger.ts'
import { tenantTarget, type MigrationTarget } from './migration-target.ts'
import { readMigrations, type LoadedMigration } from './read-migrations.ts'
import { StepFailure } from './run-in-transaction.ts'

/** Bounds for a creation or a move. Long waits are fine, because no request uses the tables yet. */
const lockRetry = { lockTimeout: 5_000, retries: 3 }

/**
 * Applies all pending migrations to a tenant's own tables, as a step of its creation or move. Does
 * nothing for strategies with tenant tables, or without tenant migrations. The caller must hold the
 * tenant's lock. Idempotent.
 *
 * @throws the error of a migration that failed, FST_TENANCY_MIGRATION_INVALID if the files do not
 *   match the ledger
 */
export async function migrateTenant (
  context: ManagerContext,
  tenant: TenantRecord,
  isMoving = false
): Promise<void> {
  const { migrations } = context.options
  if (migrations.tenant === undefined || !hasOwnTables(tenant)) return
  const connection = new Connection()
  try {
    await migrateOne(context, connection, {
      tenant,
      migrations: await readMigrations(migrations.tenant),
      ...lockRetry,
      isMoving
    })
  } catch (error) {
    throw error instanceof StepFailure ? error.cause : error
  } finally {
    await connection.close()
  }
}

/** Whether a tenant has tables that are migrated separately from other tenants' tables. */
export function hasOwnTables ({ isolation }: Pick<TenantRecord, 'isolation'>): boolean {
  return isolation === 'schema' || isolation === 'database'
}

interface MigrateOne {
  readonly tenant: TenantRecord
  readonly migrations: readonly LoadedMigration[]
  readonly known?: LedgerEntry | undefined
  readonly lockTimeout: number
  readonly retries: number
  /** Whether to take the tenant's lock. @default false, for callers that hold it */
  readonly isLocking?: boolean
  /**
   * Whether the tables are the target of a move. The default shard's copy of the ledger then still
   * describes the source. @default false
   */
  readonly isMoving?: boolean
}

/**
 * Does what {@link migrateTenant} does, on a given connection. Records a failure in the ledger; a
 * non-transactional migration records its own.
 */
export async function migrateOne (
  context: ManagerContext,
  connection: Connection,
  { tenant, isMoving = false, ...input }: MigrateOne
): Promise<readonly string[] | undefined> {
  const target = await tenantTarget(context, tenant)
  const isApart = tenant.isolation === 'database'
  const work = (): Promise<readonly string[] | undefined> =>
    bringUp(connection, {
      ...input,
      target,
      ...(isApart && !isMoving && { after: client => rememberLedger(context, client, tenant.id) })
    })
  try {
    return await (input.isLocking === true && !target.hasRegistry
      ? locked(context, tenant, input.retries, work)
      : work())
  } catch (error) {
    if (!isMoving && error instanceof StepFailure && (isApart || !error.migration.isNonTransactional))
      await rememberFailure(context, connection, target, isApart, error)
    throw error
  }
}

/**
 * Updates the default shard's copy of the ledger of a tenant's own database. Does nothing if no
 * migration has run there.
 */
export async function copyOwnLedger (context: ManagerContext, tenant: TenantRecord): Promise<void> {
  const { source } = await tenantTarget(context, tenant)
  const connection = new Connection()
  try {
    await connection.use(source, async client => {
      const { rows: [row] } = await client.query<{ there: boolean }>(
        "select pg_catalog.to_regclass('tenancy.migration_ledger') is not null as there"
      )
      if (row?.there === true) await rememberLedger(context, client, tenant.id)
    })
  } finally {
    await connection.close()
  }
}

async function rememberLedger ({ shards }: ManagerContext, client: SqlClient, tenant: string): Promise<void> {
  await withClient(shards.get('default'), to =>
    inTransaction(to, async () => {
      await to.query(becomeOwner)
      await copyLedger(client, to, tenant)
    }))
}

// If the registry is in another database, the tenant's lock and status need a step of their own.
async function locked<T> (
  { locks, registry }: ManagerContext,
  { id }: TenantRecord,
  retries: number,
  work: () => Promise<T>
): Promise<T | undefined> {
  return retryLocks(
    retries,
    () =>
      locks.hold(tenantLock(id), 'another process is at work on this tenant at this moment', async () => {
        const now = await registry.findById(id)
        return now === undefined || now.status === 'deleting' || now.status === 'deleted' ? undefined : work()
      })
  )
}

// Best-effort, because the migration's own error is the one to report.
async function rememberFailure (
  { shards }: ManagerContext,
  connection: Connection,
  target: MigrationTarget,
  isApart: boolean,
  { migration, cause }: StepFailure
): Promise<void> {
  const source = isApart ? { pool: shards.get('default'), isOwn: false } : target.source
  await connection.use(source, client => recordFailure(client, target.tenant, migration, cause)).catch(
    () => {}
  )
}

/** Deletes a tenant from all ledgers, after its tables were removed. */
export async function forgetMigrations (
  { shards }: ManagerContext,
  { id }: Pick<TenantRecord, 'id'>
): Promise<void> {
  for (const shard of shards.names)
    await shards.get(shard).query('delete from tenancy.migration_ledger where tenant_id = $1', [id])
}
