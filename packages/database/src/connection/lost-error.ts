import { DatabaseUnavailableError } from '@fastify-tenancy/postgres'
import { isServerError } from '@fastify-tenancy/postgres/client'

/**
 * Whether the server ended the connection because its transaction was idle (25P03), or open (25P04), for
 * too long.
 */
export function isIdleTimeout (error: unknown): boolean {
  return isServerError(error) && (error.code === '25P03' || error.code === '25P04')
}

/**
 * What a statement fails with on a connection that ended before: an idle timeout is the application's
 * doing, and told as such.
 */
export function lostError (fatal: unknown): unknown {
  return isIdleTimeout(fatal) ? fatal : new DatabaseUnavailableError(undefined, { cause: fatal })
}
