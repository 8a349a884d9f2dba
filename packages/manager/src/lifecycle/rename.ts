import { slugProblem, tenantConflict, type TenantRecord, type TenantRef } from '@fastify-tenancy/core'

import type { ManagerContext } from '../context.ts'
import { changeTenant } from './audit.ts'
import { withTenant } from './find.ts'
import { assertStatus } from './state.ts'

/** The old slug is quarantined for 30 days by the registry's own trigger; only this tenant may have it back before. */
export async function renameTenant (context: ManagerContext, ref: TenantRef, slug: string): Promise<TenantRecord> {
  const problem = slugProblem(slug, context.options.reserved)
  if (problem !== undefined) throw tenantConflict(problem)
  return withTenant(context, ref, [], async tenant => {
    if (tenant.slug === slug) return tenant
    assertStatus(tenant.status, 'active', 'suspended')
    return changeTenant(context, tenant, { slug }, 'rename', { from: tenant.slug, to: slug })
  })
}
