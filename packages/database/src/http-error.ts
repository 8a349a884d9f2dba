import { defineError, type TenancyErrorConstructor } from '@fastify-tenancy/core'

import { isServerError } from './connection/pg-internals.ts'
import { DatabaseBusyError, DatabaseUnavailableError } from './errors.ts'

/** 409: a unique or exclusion constraint, whoever holds the value. */
export const DatabaseConflictError: TenancyErrorConstructor = defineError('FST_TENANCY_DATABASE_CONFLICT', 409, 'This already exists')
/** 422: a foreign key, check or not-null constraint. */
export const DatabaseConstraintError: TenancyErrorConstructor = defineError('FST_TENANCY_DATABASE_CONSTRAINT', 422, 'The request breaks a rule of the data')
/** 400: a value that its column's type cannot hold. */
export const DatabaseValueError: TenancyErrorConstructor = defineError('FST_TENANCY_DATABASE_VALUE', 400, 'A value has the wrong form')
/** 503: a serialization failure, a deadlock or a timeout: the same request may succeed. */
export const DatabaseRetryError: TenancyErrorConstructor = defineError('FST_TENANCY_DATABASE_RETRY', 503, 'The request could not be completed in time', 1)
/** 500: any other error of the database. */
export const DatabaseError: TenancyErrorConstructor = defineError('FST_TENANCY_DATABASE_ERROR', 500, 'Internal Server Error')

/**
 * The error that a client may see for one that was thrown: an error of the database becomes a generic one, with the
 * original as `cause` for the log. Names of constraints, tables and values stay inside; so does whether a value that is
 * taken is one's own or another tenant's. Every other error is returned as it is.
 */
export function toHttpError (error: unknown): unknown {
  if (!isServerError(error)) return error
  const HttpError = forCode(error.code ?? '')
  return new HttpError(undefined, { cause: error })
}

// https://www.postgresql.org/docs/current/errcodes-appendix.html
function forCode (code: string): TenancyErrorConstructor {
  switch (code) {
    case '23505': case '23P01': return DatabaseConflictError
    case '23502': case '23503': case '23514': return DatabaseConstraintError
    case '22001': case '22003': case '22007': case '22008': case '22021': case '22P02': return DatabaseValueError
    case '25P03': case '40001': case '40P01': case '55P03': case '57014': return DatabaseRetryError
    case '53300': return DatabaseBusyError
    default: return code.startsWith('08') || code.startsWith('57P') ? DatabaseUnavailableError : DatabaseError
  }
}
