import type { TenantStatus } from '@fastify-tenancy/core'
import { tenantConflict } from '@fastify-tenancy/core/errors'

/*
 * provisioning → active ⇄ suspended → deleting → deleted
 *
 * A failed create leads from provisioning to deleting. Taking a deletion back leads from deleting
 * to the status before it.
 */
const next: Readonly<Record<TenantStatus, readonly TenantStatus[]>> = {
  provisioning: ['active', 'deleting'],
  active: ['suspended', 'deleting'],
  suspended: ['active', 'deleting'],
  deleting: ['active', 'suspended', 'deleted'],
  deleted: []
}

const possible: Readonly<Record<TenantStatus, string>> = {
  provisioning: 'is being created: create it again to finish that, or delete it',
  active: 'is active: it can be suspended or deleted',
  suspended: 'is suspended: it can be resumed or deleted',
  deleting: 'is being deleted: it can be resumed or purged',
  deleted: 'is deleted and cannot be restored'
}

/**
 * Refuses a status change that is not possible. The message says which changes are.
 *
 * @throws FST_TENANCY_TENANT_CONFLICT
 */
export function assertTransition (from: TenantStatus, to: TenantStatus): void {
  if (!next[from].includes(to)) throw tenantConflict(`the tenant ${possible[from]}`)
}

/**
 * Refuses an operation that only some statuses allow. The message says which operations are
 * possible.
 *
 * @throws FST_TENANCY_TENANT_CONFLICT
 */
export function assertStatus (status: TenantStatus, ...allowed: readonly TenantStatus[]): void {
  if (!allowed.includes(status)) throw tenantConflict(`the tenant ${possible[status]}`)
}
