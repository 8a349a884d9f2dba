import { tenantConflict, type TenantRecord } from '@fastify-tenancy/core'

import type { ManagerContext } from '../context/context.ts'
import { hasServer } from '../placement/tenant-server.ts'

/**
 * Refuses to copy what might be written meanwhile: an embedded database, and one that the options' function answered a pool for, know no
 * login that could be locked out.
 *
 * @throws FST_TENANCY_TENANT_CONFLICT
 */
export async function assertLockable (context: ManagerContext, tenant: TenantRecord): Promise<void> {
  if (tenant.isolation !== 'database' || tenant.status === 'suspended') return
  if (await hasServer(tenant, context)) return
  throw tenantConflict(
    'nothing can lock the tenant out of its database while it is copied (it is embedded, or a pool of your own): suspend the tenant first, and move it when no process serves it any more'
  )
}
