import { TenantConflictError } from '@fastify-tenancy/core'
import { tenantConflict } from '@fastify-tenancy/core/errors'
import { sqlState, type SqlClient } from '@fastify-tenancy/postgres/client'
import { setTimeout as sleep } from 'node:timers/promises'

import { compareLedger } from './compare.ts'
import type { Connection } from './connection.ts'
import { MigrationInvalidError } from './errors.ts'
import { foreignProblem, ranElsewhere } from './kysely-history.ts'
import { readEntry, type LedgerEntry } from './ledger.ts'
import type { MigrationTarget } from './migration-target.ts'
import type { LoadedMigration } from './read-migrations.ts'
import { isClaim, StepFailure } from './run-in-transaction.ts'
import { runPending } from './run-pending.ts'

interface BringUpInput {
  readonly target: MigrationTarget
  readonly migrations: readonly LoadedMigration[]
  /** The ledger's entry, if the caller has read it. @default read first */
  readonly known?: LedgerEntry | undefined
  /** In milliseconds. */
  readonly lockTimeout: number
  readonly retries: number
  /** Whether to take the tenant's lock. @default false, for callers that hold it */
  readonly isLocking?: boolean
  readonly finish?: (client: SqlClient) => Promise<void>
  /** Runs after the migrations on the same connection, for a tenant's own database. */
  readonly after?: (client: SqlClient) => Promise<void>
}

// Errors after which a retry may succeed: lock_not_available, deadlock_detected, and TN423: another
// process holds the tenant's lock.
export const passing: ReadonlySet<unknown> = new Set(['55P03', '40P01', 'TN423'])

// admin_shutdown, crash_shutdown, cannot_connect_now; class 08, connection_exception
const lost = /^(?:57P0[123]|08...)$/

/**
 * Whether the connection ended during a migration. Then only the ledger shows whether the migration
 * was committed.
 */
function isLost (error: unknown): boolean {
  const code: unknown = error instanceof Error && 'code' in error ? error.code : undefined
  if (typeof code === 'string') return lost.test(code) || ['ECONNRESET', 'EPIPE'].includes(code)
  return error instanceof Error &&
    /^(?:Connection terminated|Client has encountered a connection error)/.test(error.message)
}

function refused (error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ECONNREFUSED'
}

/** Waits before attempt n + 1: about 100, 200, 400, … ms up to 5 s, half of it random. */
export async function retryDelay (attempt: number): Promise<void> {
  await sleep(Math.min(100 * 2 ** (attempt - 1), 5_000) * (0.5 + Math.random() / 2))
}

/**
 * Applies all pending migrations to one target. Each wait for a lock is bounded by `lockTimeout`
 * and retried after a pause. If two processes do this concurrently, each migration still runs once.
 *
 * @returns the names of the migrations that ran; undefined if the tenant is not to be migrated any
 *   more
 * @throws StepFailure for a migration that failed, FST_TENANCY_MIGRATION_INVALID if the ledger does
 *   not match
 */
export async function bringUp (
  connection: Connection,
  { target, migrations, known, retries, isLocking = false, lockTimeout, finish, after }: BringUpInput
): Promise<readonly string[] | undefined> {
  let entry = known
  const ran: string[] = []
  let wasLost = false
  for (let attempt = 1;; attempt++) {
    try {
      return await connection.use(target.source, async client => {
        await target.prepare?.(client)
        const { applied } = entry ?? await readEntry(client, target.tenant)
        const { pending, problem } = compareLedger(applied, migrations)
        if (problem !== undefined) throw new MigrationInvalidError(problem)
        // For a schema, the plan has read all histories already.
        const foreign = pending.length > 0 && target.prepare !== undefined
          ? await ranElsewhere(client, target.schema, pending)
          : undefined
        if (foreign !== undefined) throw new MigrationInvalidError(foreignProblem(foreign, target.tenant))
        if (pending.length > 0)
          await runPending(client, {
            target,
            migrations: pending,
            seen: applied,
            lockTimeout,
            isLocking,
            finish
          }, group => {
            ran.push(...group.map(({ name }) => name))
          })
        await after?.(client)
        return ran
      })
    } catch (error) {
      if (isClaim(error) && error.code === 'TN404') return undefined
      entry = undefined
      // Another process has applied migrations meanwhile. Read the ledger again.
      if (isClaim(error) && error.code === 'TN409') continue
      // An operator must decide whether statements whose effects stayed may run again.
      if (error instanceof StepFailure && error.isPartial) throw error
      const cause = error instanceof StepFailure ? error.cause : error
      const state = sqlState(cause)
      wasLost ||= isLost(cause)
      // A server that restarts refuses connections for a moment.
      const passes = passing.has(state) || isLost(cause) || (wasLost && refused(cause))
      if (attempt > retries || !passes)
        throw state === 'TN423'
          ? tenantConflict(
            'another process is at work on these tables at this moment: call again when it has ended'
          )
          : error
      await retryDelay(attempt)
    }
  }
}

/** Retries work that another process's lock on the tenant prevented. */
export async function retryLocks<T> (retries: number, work: () => Promise<T>): Promise<T> {
  for (let attempt = 1;; attempt++) {
    try {
      return await work()
    } catch (error) {
      if (attempt > retries || !(error instanceof TenantConflictError)) throw error
      await retryDelay(attempt)
    }
  }
}
