import type { TenantRecord, TenantRef } from '@fastify-tenancy/core'
import { tenantConflict } from '@fastify-tenancy/core/errors'

import type { ManagerContext } from '../context/context.ts'
import { lockOut, liftLockout } from '../lockouts/lockout.ts'
import { changeTenant } from '../operations/audit.ts'
import { withTenant } from '../operations/find.ts'
import { abandonOperation } from '../operations/journal.ts'
import { assertStatus, assertTransition } from '../operations/state.ts'
import { forgetDeletion, readDeletion } from './deletion.ts'
import { resolveSuspendInput, type SuspendInput } from './input.ts'

/**
 * Suspends a tenant. The lockout in the tenant's database precedes the status, whose change
 * notifies every process.
 */
export async function suspendTenant (
  context: ManagerContext,
  ref: TenantRef,
  input: SuspendInput = {}
): Promise<TenantRecord> {
  const { reason } = resolveSuspendInput(input)
  return withTenant(context, ref, [], async tenant => {
    assertStatus(tenant.status, 'active', 'suspended')
    await lockOut(context, tenant, 'suspended')
    if (tenant.status === 'suspended') return tenant
    return changeTenant(context, tenant, { status: 'suspended' }, 'suspend', {
      ...(reason !== undefined && { reason })
    })
  })
}

/**
 * Resumes a tenant, or takes a deletion back and restores the previous status. The status precedes
 * the removal of the lockout.
 */
export async function resumeTenant (context: ManagerContext, ref: TenantRef): Promise<TenantRecord> {
  return withTenant(context, ref, ['delete'], async tenant => {
    const client = context.shards.get('default')
    // Refuses a tenant that was never active, even if an interrupted delete left an operation.
    assertStatus(tenant.status, 'active', 'suspended', 'deleting')
    const deletion = await readDeletion(client, tenant.id)
    if (deletion?.was === 'provisioning')
      throw tenantConflict('the tenant was deleted before it was active: purge it, then create it again')
    await abandonOperation(client, tenant.id)
    const status = tenant.status === 'deleting' ? deletion?.was ?? 'active' : 'active'
    if (tenant.status !== status) assertTransition(tenant.status, status)
    const resumed = tenant.status === status
      ? tenant
      : await changeTenant(
        context,
        tenant,
        { status },
        tenant.status === 'deleting' ? 'undelete' : 'resume',
        { status },
        client => forgetDeletion(client, tenant.id)
      )
    if (status === 'suspended') await lockOut(context, tenant, 'suspended')
    else await liftLockout(context, tenant)
    return resumed
  })
}
