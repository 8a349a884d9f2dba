import { TenantConflictError, tenantConflict } from '@fastify-tenancy/core'
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

export interface BringUpInput {
  readonly target: MigrationTarget
  readonly migrations: readonly LoadedMigration[]
  /** What the ledger was found to hold. @default read first */
  readonly known?: LedgerEntry | undefined
  /** In milliseconds. */
  readonly lockTimeout: number
  readonly retries: number
  /** Whether to take the tenant's lock. @default false, for who holds it */
  readonly isLocking?: boolean
  readonly finish?: (client: SqlClient) => Promise<void>
  /** After all that, on the same connection, where it is a tenant's own database. */
  readonly after?: (client: SqlClient) => Promise<void>
}

// lock_not_available and deadlock_detected; and somebody else at work on the tenant: all of them pass.
export const passing: ReadonlySet<unknown> = new Set(['55P03', '40P01', 'TN423'])

// admin_shutdown, crash_shutdown, cannot_connect_now; connection_exception
const lost = /^(?:57P0[123]|08...)$/

/** Whether a connection ended under a migration: whether that has committed, only the ledger knows then. */
function isLost (error: unknown): boolean {
  const code: unknown = error instanceof Error && 'code' in error ? error.code : undefined
  if (typeof code === 'string') return lost.test(code) || ['ECONNRESET', 'EPIPE'].includes(code)
  return error instanceof Error &&
    /^(?:Connection terminated|Client has encountered a connection error)/.test(error.message)
}

function refused (error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ECONNREFUSED'
}

/** The pause before attempt n + 1: about 100, 200, 400, … ms up to 5 s, half of it random. */
export async function retryDelay (attempt: number): Promise<void> {
  await sleep(Math.min(100 * 2 ** (attempt - 1), 5_000) * (0.5 + Math.random() / 2))
}

/**
 * Brings one place to the newest migration: waits for locks a bounded time, and tries again after a pause, so that who reads
 * meanwhile waits no longer than that. Two who do it at once apply each migration once.
 *
 * @returns the names of the migrations that ran; undefined where the tenant is not to be migrated any more
 * @throws StepFailure for a migration that failed, FST_TENANCY_MIGRATION_INVALID for a ledger that does not fit
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
        // Of a schema, the plan has looked for all of them at once.
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
      // Somebody else got on: what is left, if anything, is to be seen now.
      if (isClaim(error) && error.code === 'TN409') continue
      // To run again what stays is for somebody to say.
      if (error instanceof StepFailure && error.isPartial) throw error
      const cause = error instanceof StepFailure ? error.cause : error
      const state = sqlState(cause)
      wasLost ||= isLost(cause)
      // A server that starts anew refuses connections for a moment.
      const passes = passing.has(state) || isLost(cause) || (wasLost && refused(cause))
      if (attempt > retries || !passes)
        throw state === 'TN423'
          ? tenantConflict('another process is at work on these tables at this moment')
          : error
      await retryDelay(attempt)
    }
  }
}

/** Tries again what another process's work on the tenant stood in the way of. */
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
