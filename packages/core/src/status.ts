import { TenantNotReadyError, TenantSuspendedError, TenantUnknownError, type TenancyError } from './errors.ts'
import type { TenantStatus } from './tenant.ts'

/**
 * Why work for a tenant of this status is refused; undefined where it is not. One rule for requests, runs and jobs.
 * FST_TENANCY_TENANT_UNKNOWN for one that is being deleted, FST_TENANCY_TENANT_SUSPENDED, or FST_TENANCY_TENANT_NOT_READY.
 *
 * @param allowed which statuses are served besides `'active'`.
 */
export function statusRefusal (
  status: TenantStatus,
  allowed: readonly TenantStatus[]
): TenancyError | undefined {
  if (status === 'active' || allowed.includes(status)) return undefined
  if (status === 'deleting' || status === 'deleted') return new TenantUnknownError()
  return status === 'suspended' ? new TenantSuspendedError() : new TenantNotReadyError()
}
