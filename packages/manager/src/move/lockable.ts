import type { TenantRecord } from '@fastify-tenancy/core'
import { tenantConflict } from '@fastify-tenancy/core/errors'

import type { ManagerContext } from '../context/context.ts'
import { hasServer } from '../placement/tenant-server.ts'

/**
 * Refuses to move a served tenant whose database has no login that the manager can lock out: an
 * embedded one, or a pool that the application's function returned. It could be written during the
 * copy.
 *
 * @throws FST_TENANCY_TENANT_CONFLICT
 */
export async function assertLockable (context: ManagerContext, tenant: TenantRecord): Promise<void> {
  if (tenant.isolation !== 'database' || tenant.status === 'suspended') return
  if (await hasServer(tenant, context)) return
  throw tenantConflict(
    'the tenant cannot be locked out of its database while it is copied, because the database is embedded ' +
      'or a pool of your own: suspend the tenant, wait until no process serves it any more, then move it'
  )
}
