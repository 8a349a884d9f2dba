import { tenantConflict, type TenantStatus } from '@fastify-tenancy/core'

/*
 * provisioning → active ⇄ suspended → deleting → deleted
 *
 * A failed create goes from provisioning to deleting, and a deletion is taken back from deleting to what was before.
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
  deleted: 'is deleted, for good'
}

/** @throws FST_TENANCY_TENANT_CONFLICT that says what is possible, where a tenant cannot go from one status to the other. */
export function assertTransition (from: TenantStatus, to: TenantStatus): void {
  if (!next[from].includes(to)) throw tenantConflict(`the tenant ${possible[from]}`)
}

/** A refusal of work that only some statuses allow, which says what is possible. */
export function assertStatus (status: TenantStatus, ...allowed: readonly TenantStatus[]): void {
  if (!allowed.includes(status)) throw tenantConflict(`the tenant ${possible[status]}`)
}
