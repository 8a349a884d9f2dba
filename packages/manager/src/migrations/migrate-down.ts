import type { TenantRef } from '@fastify-tenancy/core'
import { checkOptions, positiveInteger, timeout } from '@fastify-tenancy/core/options'
import { inTransaction } from '@fastify-tenancy/postgres/client'
import * as v from 'valibot'

import type { ManagerContext } from '../context/context.ts'
import { tenantLock } from '../context/locks.ts'
import { withClient } from '../context/shard-pools.ts'
import { CatalogAnnouncer } from './announce.ts'
import { compareLedger } from './compare.ts'
import { Connection } from './connection.ts'
import { MigrationInvalidError } from './errors.ts'
import { becomeOwner, copyLedger, readEntry } from './ledger.ts'
import { tenantTarget } from './migration-target.ts'
import { findOne, readSets } from './plan.ts'
import type { LoadedMigration } from './read-migrations.ts'
import { runInTransaction, StepFailure } from './run-in-transaction.ts'

/** Options of {@link Manager.migrateDown}. */
export interface MigrateDownInput {
  /** How many migrations to undo, the newest first. @default 1 */
  readonly steps?: number
  /** Longest wait of a migration for a lock. @default '1s' */
  readonly lockTimeout?: string
}

const schema = v.strictObject({
  steps: v.optional(positiveInteger, 1),
  lockTimeout: v.optional(timeout, '1s')
}, 'must be an object')

/**
 * Undoes the newest migrations of one tenant in one transaction, including those that were applied
 * outside a transaction.
 *
 * @returns the names of the undone migrations, the newest first
 */
export async function migrateDown (
  context: ManagerContext,
  ref: TenantRef,
  input: MigrateDownInput
): Promise<readonly string[]> {
  const { steps, lockTimeout } = checkOptions(schema, input, 'migrateDown')
  const tenant = await findOne(context, ref)
  const { tenant: migrations = [] } = await readSets(context, 'tenant')
  const target = await tenantTarget(context, tenant)
  const connection = new Connection()
  const announcer = new CatalogAnnouncer(context)
  try {
    return await context.locks.hold(
      tenantLock(tenant.id),
      'another process is at work on this tenant at this moment',
      () =>
        connection.use(target.source, async client => {
          await target.prepare?.(client)
          const { applied } = await readEntry(client, tenant.id)
          const newest = newestFirst(applied.length, migrations, compareLedger(applied, migrations)).slice(
            0,
            steps
          )
          for (const { name, migration } of newest) {
            if (migration.down === undefined)
              throw new MigrationInvalidError(`migration '${name}' has no down(), so it cannot be undone`)
          }
          if (newest.length > 0)
            await runInTransaction(client, {
              target,
              direction: 'down',
              migrations: newest,
              seen: applied,
              lockTimeout,
              isLocking: false
            })
          if (newest.length > 0)
            await announcer.changed()
          if (tenant.isolation === 'database') {
            await withClient(context.shards.get('default'), to =>
              inTransaction(to, async () => {
                await to.query(becomeOwner)
                await copyLedger(client, to, tenant.id)
              }))
          }
          return newest.map(({ name }) => name)
        })
    )
  } catch (error) {
    throw error instanceof StepFailure ? error.cause : error
  } finally {
    await connection.close()
  }
}

function newestFirst (
  count: number,
  migrations: readonly LoadedMigration[],
  { problem, ahead }: ReturnType<typeof compareLedger>
): readonly LoadedMigration[] {
  if (problem !== undefined) throw new MigrationInvalidError(problem)
  const [unknown] = ahead
  if (unknown !== undefined)
    throw new MigrationInvalidError(
      `migration '${unknown}' has run, but this version of the application does not have it: ` +
        'undo it with the version that does'
    )
  return migrations.slice(0, count).toReversed()
}
