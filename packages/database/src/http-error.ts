import { defineError, toPublicError, type TenancyErrorConstructor } from '@fastify-tenancy/core/errors'
import { DatabaseUnavailableError } from '@fastify-tenancy/postgres'
import { isServerError } from '@fastify-tenancy/postgres/client'

import { askedForReadOnly } from './connection/read-only.ts'
import { DatabaseBusyError } from './options/errors.ts'

/** 409: a unique or exclusion constraint, even if another tenant holds the value. */
export const DatabaseConflictError: TenancyErrorConstructor = defineError(
  'FST_TENANCY_DATABASE_CONFLICT',
  409,
  'This already exists'
)
/** 422: a foreign key, check or not-null constraint. */
export const DatabaseConstraintError: TenancyErrorConstructor = defineError(
  'FST_TENANCY_DATABASE_CONSTRAINT',
  422,
  'The request breaks a rule of the data'
)
/** 400: a value that its column's type cannot hold. */
export const DatabaseValueError: TenancyErrorConstructor = defineError(
  'FST_TENANCY_DATABASE_VALUE',
  400,
  'A value has the wrong form'
)
/** 503: a serialization failure, a deadlock or a timeout. The same request may succeed. */
export const DatabaseRetryError: TenancyErrorConstructor = defineError(
  'FST_TENANCY_DATABASE_RETRY',
  503,
  'The request could not be completed in time',
  1
)
/** 500: any other error of the database. */
export const DatabaseError: TenancyErrorConstructor = defineError(
  'FST_TENANCY_DATABASE_ERROR',
  500,
  'Internal Server Error'
)

/**
 * Returns the error to show to a client for a thrown error. A database error becomes a generic one,
 * and an error of the suite gets its code's general sentence; `cause` keeps the original. Names of
 * tables and options stay hidden, and so does which tenant holds a taken value.
 *
 * An error without a status whose `cause` is a database error counts as one: Drizzle, tRPC and
 * GraphQL wrap errors. Every other error is returned unchanged.
 */
export function toHttpError (error: unknown): unknown {
  const failure = databaseError(error)
  if (failure === undefined) return toPublicError(error)
  const HttpError = askedForReadOnly(failure) ? DatabaseError : forCode(String(failure.code ?? ''))
  return new HttpError(undefined, { cause: error })
}

/** Longest chain of causes that is followed; wrappers of wrappers are two or three deep. */
const deepest = 8

function databaseError (error: unknown): ErrorLike | undefined {
  let each = error
  for (let depth = 0; depth < deepest && isErrorLike(each); depth++) {
    // True if the error is not the database's, or its status is below 500: such an error was made
    // for the client, including its text.
    const status = each.statusCode ?? each.status
    const isDatabases = isServerError(each) ||
      (typeof each.severity === 'string' && typeof each.code === 'string' && sqlState.test(each.code))
    if (status !== undefined && (!isDatabases || Number(status) < 500)) return undefined
    if (isDatabases) return each
    each = each.cause
  }
  return undefined
}

// An error of another copy of pg, or of another driver, is no instance of our class. So check the
// form of its code.
const sqlState = /^[0-9A-Z]{5}$/

interface ErrorLike extends Error {
  readonly code?: unknown
  readonly severity?: unknown
  readonly status?: unknown
  readonly statusCode?: unknown
}

function isErrorLike (value: unknown): value is ErrorLike {
  return typeof value === 'object' && value !== null &&
    typeof (value as { message?: unknown }).message === 'string'
}

// https://www.postgresql.org/docs/current/errcodes-appendix.html
function forCode (code: string): TenancyErrorConstructor {
  switch (code) {
    case '23505':
    case '23P01':
      return DatabaseConflictError
    case '23502':
    case '23503':
    case '23514':
      return DatabaseConstraintError
    case '22001':
    case '22003':
    case '22007':
    case '22008':
    case '22021':
    case '22P02':
      return DatabaseValueError
    case '25P03':
    case '25P04':
    case '40001':
    case '40P01':
    case '55P03':
    case '57014':
      return DatabaseRetryError
    case '53300':
      return DatabaseBusyError
    // 25006: read-only after a failover. 58030: a disk error of the server. Another attempt may
    // reach a working server.
    case '25006':
    case '58030':
      return DatabaseUnavailableError
    default:
      return /^(?:08|53|57P)/.test(code) ? DatabaseUnavailableError : DatabaseError
  }
}
