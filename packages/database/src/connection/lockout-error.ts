import { TenantNotReadyError, TenantSuspendedError, TenantUnknownError, type TenancyError,
  type TenancyErrorConstructor } from '@fastify-tenancy/core'
import { isServerError } from '@fastify-tenancy/postgres/client'

// What tenancy.check_lockout() raises.
const constructors: Readonly<Record<string, TenancyErrorConstructor>> = {
  TN403: TenantSuspendedError,
  TN404: TenantUnknownError,
  TN503: TenantNotReadyError
}

const lockoutErrors = new WeakSet<object>()

/** What a client is told of a tenant that its database locks out; undefined for every other error. */
export function lockoutError (error: unknown): TenancyError | undefined {
  const Constructor = isServerError(error) ? constructors[error.code ?? ''] : undefined
  if (Constructor === undefined) return undefined
  const refusal = new Constructor(undefined, { cause: error })
  lockoutErrors.add(refusal)
  return refusal
}

/**
 * The like for a database of the tenant's own, where the fence is that its login may not connect, or that both are gone: for what
 * connecting failed with. A refused login can also be a wrong password: that stays the error it was, and is looked into.
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

/** Whether a database locked a tenant out that its process took for served: what the process remembers of it is old. */
export function isLockoutError (error: unknown): boolean {
  return typeof error === 'object' && error !== null && lockoutErrors.has(error)
}
