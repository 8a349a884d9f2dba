import type { TenantRecord, TenantRef } from '@fastify-tenancy/core'

import type { ManagerContext } from '../context/context.ts'
import { changeTenant } from '../operations/audit.ts'
import { withTenant } from '../operations/find.ts'
import { assertStatus } from '../operations/state.ts'
import { assertSlug } from './slug.ts'

/** The old slug is quarantined for 30 days by the registry's own trigger; only this tenant may have it back before. */
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
