import type { TenantRecord, TenantRef } from '@fastify-tenancy/core'

import type { ManagerContext } from '../context/context.ts'
import { changeTenant } from '../operations/audit.ts'
import { withTenant } from '../operations/find.ts'
import { assertStatus } from '../operations/state.ts'
import { assertSlug } from './slug.ts'

/**
 * Changes a tenant's slug. A trigger of the registry quarantines the old slug for 30 days, in which
 * only this tenant can take it again.
 */
export async function renameTenant (
  context: ManagerContext,
  ref: TenantRef,
  slug: string
): Promise<TenantRecord> {
  assertSlug(slug, context.options)
  return withTenant(context, ref, [], async tenant => {
    if (tenant.slug === slug) return tenant
    assertStatus(tenant.status, 'active', 'suspended')
    return changeTenant(context, tenant, { slug }, 'rename', { from: tenant.slug, to: slug })
  })
}
