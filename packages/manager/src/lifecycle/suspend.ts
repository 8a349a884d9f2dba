import { tenantConflict, type TenantRecord, type TenantRef } from '@fastify-tenancy/core'

import type { ManagerContext } from '../context/context.ts'
import { lockOut, liftLockout } from '../lockouts/lockout.ts'
import { changeTenant } from '../operations/audit.ts'
import { withTenant } from '../operations/find.ts'
import { abandonOperation } from '../operations/journal.ts'
import { assertStatus, assertTransition } from '../operations/state.ts'
import { forgetDeletion, readDeletion } from './deletion.ts'
import { resolveSuspendInput, type SuspendInput } from './input.ts'

/** First the fence, in the database that holds the rows; then the status, which tells every process. */
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

/** First the status, then the fence. Takes a deletion back, too: the tenant is then what it was before. */
export async function resumeTenant (context: ManagerContext, ref: TenantRef): Promise<TenantRecord> {
  return withTenant(context, ref, ['delete'], async tenant => {
    const client = context.shards.get('default')
    // What was never finished is not made active by this, whatever a deletion that was cut short has left.
    assertStatus(tenant.status, 'active', 'suspended', 'deleting')
    const deletion = await readDeletion(client, tenant.id)
    if (deletion?.was === 'provisioning')
      throw tenantConflict('the tenant was deleted before it was ready: purge it, and create it again')
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
