import { DatabaseUnavailableError } from '@fastify-tenancy/postgres'
import type { SqlClient } from '@fastify-tenancy/postgres/client'

import { IsolationBreachError, QueryRefusedError } from '../options/errors.ts'
import { UnverifiedRowsError, type BatchEnd, type UnverifiedRows } from './batch-end.ts'
import { lockoutError, suspectLockout } from './lockout-error.ts'
import { isIdleTimeout } from './lost-error.ts'
import { markNeverExecuted } from './retry.ts'
import { rowTags } from './statement.ts'
import { isForeign, type RowGuard } from './tripwire.ts'

/** Whether a batch was the first of its owner, and whether the owner has a database of its own. */
interface Attempt {
  readonly isFirst: boolean
  readonly hasOwnDatabase: boolean
}

/** Returns a batch's error in the form for its caller; undefined if the batch succeeded. */
export function failureOf (
  { error, status, neverExecuted, isResetError }: BatchEnd,
  { isFirst, hasOwnDatabase }: Attempt
): unknown {
  if (error === undefined) return undefined
  if (isResetError) return markNeverExecuted(new DatabaseUnavailableError(undefined, { cause: error }))
  if (status !== undefined || isIdleTimeout(error)) return lockoutError(error) ?? error
  const lost = new DatabaseUnavailableError(undefined, { cause: error })
  if (hasOwnDatabase) suspectLockout(lost)
  // Lost in the first batch, the statement is sent again on another connection.
  return neverExecuted && isFirst ? markNeverExecuted(lost) : lost
}

/**
 * Returns why the reply to a tenant's statement is refused; undefined for a statement that a
 * tenant's handle may run.
 */
export function refusalOf ({ tag, reply }: BatchEnd): Error | undefined {
  if (!rowTags.has(tag))
    return new QueryRefusedError(
      `A tenant's handle runs SELECT, INSERT, UPDATE, DELETE and MERGE only, and the server answered ${
        tag || 'nothing'
      }`
    )
  // SELECT … INTO has the command tag SELECT but sends no RowDescription.
  return tag === 'SELECT' && !reply.hasRows
    ? new QueryRefusedError("A tenant's handle makes no tables, got SELECT … INTO")
    : undefined
}

/**
 * Checks rows of a table that was unknown to the guard, after reading the catalog. Returns why the
 * rows are withheld; undefined if they belong to the owner. After a cause of
 * {@link UnverifiedRowsError} the connection is still usable.
 */
export async function rowProblem (
  { fields, rows }: UnverifiedRows,
  guard: RowGuard,
  catalog: SqlClient
): Promise<Error | undefined> {
  try {
    await guard.loadColumns(fields, catalog)
  } catch (error) {
    return new DatabaseUnavailableError(undefined, { cause: error })
  }
  const positions = guard.tenantColumns(fields)
  // The table may still be unknown, because the transaction's snapshot can be older than the table.
  if (positions === undefined)
    return new DatabaseUnavailableError(undefined, { cause: new UnverifiedRowsError({ fields, rows }) })
  return rows.some(row => isForeign(guard, positions, row)) ? new IsolationBreachError() : undefined
}
