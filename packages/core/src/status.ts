import { TenantNotReadyError, TenantSuspendedError, TenantUnknownError, type TenancyError } from './errors.ts'
import type { TenantStatus } from './tenant.ts'

/**
 * Returns the error for work of a tenant with this status, or undefined if the status is served.
 * Requests, runs and jobs use this rule.
 *
 * The error is FST_TENANCY_TENANT_UNKNOWN for a tenant that is being deleted,
 * FST_TENANCY_TENANT_SUSPENDED, or FST_TENANCY_TENANT_NOT_READY.
 *
 * @param allowed statuses that are served besides `'active'`.
 */
export function statusRefusal (
  status: TenantStatus,
  allowed: readonly TenantStatus[]
): TenancyError | undefined {
  if (status === 'active' || allowed.includes(status)) return undefined
  if (status === 'deleting' || status === 'deleted') return new TenantUnknownError()
  return status === 'suspended' ? new TenantSuspendedError() : new TenantNotReadyError()
}
