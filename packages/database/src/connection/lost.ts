import { DatabaseUnavailableError } from '../errors.ts'
import { isServerError } from './pg-internals.ts'
import type { Session } from './session.ts'

/** Why nothing can be sent on a connection any more. */
export function lostConnection ({ fatal }: Session): unknown {
  return isIdleTimeout(fatal) ? fatal : new DatabaseUnavailableError(undefined, { cause: fatal })
}

/** 25P03, 25P04: the server ended the connection because its transaction was idle, or open, for too long. */
export function isIdleTimeout (error: unknown): boolean {
  return isServerError(error) && (error.code === '25P03' || error.code === '25P04')
}
