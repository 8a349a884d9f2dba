import type { TenantRecord, TenantRef } from '@fastify-tenancy/core'

import type { ManagerContext } from '../context/context.ts'
import { changeTenant } from '../operations/audit.ts'
import { findTenant } from '../operations/find.ts'

/** Writes the tenant as it is. The new version reaches every process as each other change does. */
export async function invalidateTenant (context: ManagerContext, ref: TenantRef): Promise<TenantRecord> {
  return changeTenant(context, await findTenant(context, ref), {}, 'invalidate')
}
