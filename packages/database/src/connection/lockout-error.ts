import { TenantNotReadyError, TenantSuspendedError, TenantUnknownError,
  type TenancyError } from '@fastify-tenancy/core'
import type { TenancyErrorConstructor } from '@fastify-tenancy/core/errors'
import { isServerError } from '@fastify-tenancy/postgres/client'

// The SQLSTATEs that tenancy.check_lockout() raises.
const constructors: Readonly<Record<string, TenancyErrorConstructor>> = {
  TN403: TenantSuspendedError,
  TN404: TenantUnknownError,
  TN503: TenantNotReadyError
}

const lockoutErrors = new WeakSet<object>()

/**
 * Returns the client's error for a tenant that its database locks out; undefined for every other
 * error.
 */
export function lockoutError (error: unknown): TenancyError | undefined {
  const Constructor = isServerError(error) ? constructors[error.code ?? ''] : undefined
  if (Constructor === undefined) return undefined
  const refusal = new Constructor(undefined, { cause: error })
  lockoutErrors.add(refusal)
  return refusal
}

/**
 * The same for strategy `database`, where a tenant is locked out by revoking CONNECT or dropping
 * the database. Maps the connection error (42501, 3D000). Authentication errors (28xxx) may also be
 * a wrong password, so they are returned unchanged, but the tenant is looked up again.
 */
export function closedDatabaseError (error: unknown): TenancyError | undefined {
  const cause = error instanceof Error && error.cause !== undefined ? error.cause : error
  if (!isServerError(cause)) return undefined
  if (cause.code?.startsWith('28') && error instanceof Error) lockoutErrors.add(error)
  if (cause.code !== '42501' && cause.code !== '3D000') return undefined
  const refusal = new TenantNotReadyError(undefined, { cause })
  lockoutErrors.add(refusal)
  return refusal
}

/**
 * Marks the error of a lost connection to a tenant's own database. `drop database` ends the
 * connection, and the server's notice may not arrive, so the tenant is looked up again.
 */
export function suspectLockout (error: Error): void {
  lockoutErrors.add(error)
}

/**
 * Whether a database locked out, or may have locked out, a tenant that this process believed
 * active. The cached tenant record may then be stale.
 */
export function isLockoutError (error: unknown): boolean {
  return typeof error === 'object' && error !== null && lockoutErrors.has(error)
}
