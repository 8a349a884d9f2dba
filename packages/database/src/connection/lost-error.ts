import { DatabaseUnavailableError } from '@fastify-tenancy/postgres'
import { isServerError } from '@fastify-tenancy/postgres/client'

/**
 * Whether the server ended the connection because its transaction was idle (25P03) or open (25P04)
 * for too long.
 */
export function isIdleTimeout (error: unknown): boolean {
  return isServerError(error) && (error.code === '25P03' || error.code === '25P04')
}

/**
 * Returns the error of a statement on a connection that ended before. An idle timeout is caused by
 * the application, so that error is returned unchanged.
 */
export function lostError (fatal: unknown): unknown {
  return isIdleTimeout(fatal) ? fatal : new DatabaseUnavailableError(undefined, { cause: fatal })
}
