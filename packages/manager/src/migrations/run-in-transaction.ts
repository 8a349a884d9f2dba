import { sqlState, type SqlClient } from '@fastify-tenancy/postgres/client'
import { Kysely } from 'kysely'
import { setImmediate } from 'node:timers/promises'

import { borderCode, nameRelations } from './border.ts'
import { DdlBuffer } from './ddl-buffer.ts'
import { MigrationDialect } from './dialect.ts'
import { becomeOwner, recordApplied, recordUndone, type AppliedMigration } from './ledger.ts'
import type { MigrationTarget } from './migration-target.ts'
import type { LoadedMigration } from './read-migrations.ts'

/** A failed migration and its error. Its transaction, if any, was rolled back. */
export class StepFailure extends Error {
  readonly migration: LoadedMigration
  override readonly cause: Error
  /** Whether some statements stay committed, because they ran outside a transaction. */
  readonly isPartial: boolean

  constructor (migration: LoadedMigration, cause: unknown, isPartial = false) {
    const error = explained(cause instanceof Error ? cause : new Error(String(cause)))
    super(error.message)
    this.migration = migration
    this.cause = error
    this.isPartial = isPartial
  }
}

// Explains PostgreSQL's refusal to change the type of a column that a policy uses. The error's
// detail has the policy's name.
function explained (error: Error): Error {
  const detail = 'detail' in error && typeof error.detail === 'string' ? error.detail : ''
  const [, policy] = /\b(tenancy_(?:tenant|system|legacy))\b/.exec(detail) ?? []
  if (sqlState(error) !== '0A000' || policy === undefined) return error
  const how =
    `drop that policy first, in the same migration (drop policy ${policy} on …). \`tenancy migrate\` ` +
    'creates it again before the migration commits; until then, no row is visible'
  return Object.assign(new Error(`${error.message} (${detail}): ${how}`, { cause: error }), { code: '0A000' })
}

export interface TransactionalRun {
  readonly target: MigrationTarget
  readonly direction: 'up' | 'down'
  /** In order of execution. */
  readonly migrations: readonly LoadedMigration[]
  /** Applied migrations that the caller has read. The claim raises TN409 if this has changed. */
  readonly seen: readonly AppliedMigration[]
  /** In milliseconds. */
  readonly lockTimeout: number
  /** Whether to take the tenant's lock, if the same transaction can take it. */
  readonly isLocking: boolean
  /** A statement that the owner runs before the first migration. */
  readonly start?: string
  /** Runs after the last migration, in the same transaction, as the login. */
  readonly finish?: ((client: SqlClient) => Promise<void>) | undefined
}

/**
 * Runs migrations on one target as the owner, in one transaction with their ledger entries. A
 * single migration that only changes the schema is one message.
 *
 * ```sql
 * begin;
 * set local search_path = "tenant_7f3c", pg_temp;
 * set local lock_timeout = 1000;
 * select tenancy.claim_migrations('7f3c', 'tenant_7f3c', true, 4, '004_tags', true);
 * alter table notes add column color text;
 * select tenancy.record_migration('7f3c', '005_color', '…');
 * commit
 * ```
 *
 * @throws StepFailure, or PostgreSQL's error if it failed before the first migration
 */
export async function runInTransaction (
  client: SqlClient,
  { target, direction, migrations, seen, lockTimeout, isLocking, start, finish }: TransactionalRun
): Promise<void> {
  const buffer = new DdlBuffer(client, target.openingStatements({ seen, lockTimeout, isLocking }))
  const db = new Kysely<unknown>({ dialect: new MigrationDialect(buffer) })
  let current: LoadedMigration | undefined
  try {
    await db.transaction().execute(async trx => {
      if (start !== undefined) buffer.add(start)
      for (const [index, migration] of migrations.entries()) {
        // Flush before the next migration begins, so that an error belongs to the current one.
        if (index > 0) {
          await buffer.flush()
          // An earlier migration may have left another path, role or setting.
          for (const text of target.again({ lockTimeout })) buffer.add(text)
        }
        current = migration
        await (direction === 'up' ? migration.migration.up(trx) : migration.migration.down?.(trx))
        // A statement that was not awaited has started by then. A schema change is buffered and
        // sent with the rest.
        await setImmediate()
        buffer.assertIdle()
        for (const text of target.border) buffer.add(text)
        // The migration may have set another role, but only the owner writes the ledger.
        buffer.add(becomeOwner)
        buffer.add(
          direction === 'up'
            ? recordApplied(target.tenant, migration)
            : recordUndone(target.tenant, migration.name)
        )
      }
      if (target.stamp !== undefined && direction === 'up') buffer.add(target.stamp)
      if (finish === undefined) return
      await buffer.flush()
      for (const text of target.again({ lockTimeout })) buffer.add(text)
      buffer.add('set local role none')
      await buffer.flush()
      await finish(client)
    })
  } catch (error) {
    if (current === undefined || isClaim(error)) throw error
    if (error instanceof Error && sqlState(error) === borderCode)
      throw new StepFailure(current, await nameRelations(client, error))
    throw new StepFailure(current, error)
  }
}

/** Why `tenancy.claim_migrations()` refused a target. */
type ClaimRefusal = 'TN404' | 'TN409' | 'TN423'

/** Whether the claim was refused. No migration has run then. */
export function isClaim (error: unknown): error is Error & { readonly code: ClaimRefusal } {
  return error instanceof Error && 'code' in error && ['TN404', 'TN409', 'TN423'].includes(String(error.code))
}
