import { TenantUnknownError, type TenantRecord, type TenantRef } from '@fastify-tenancy/core'
import { tenantConflict } from '@fastify-tenancy/core/errors'
import { resolveTenantRef } from '@fastify-tenancy/core/scope'

import type { ManagerContext } from '../context/context.ts'
import { tenantLock } from '../context/locks.ts'
import { openOperation, type OperationKind } from './journal.ts'

/**
 * Returns a tenant by its id or slug.
 *
 * @throws FST_TENANCY_TENANT_UNKNOWN
 */
export async function findTenant (
  { registry }: Pick<ManagerContext, 'registry'>,
  input: TenantRef
): Promise<TenantRecord> {
  const ref = resolveTenantRef(input)
  const tenant = await ('id' in ref ? registry.findById(ref.id) : registry.findBySlug(ref.slug))
  if (tenant === undefined)
    throw new TenantUnknownError(
      'id' in ref ? `there is no tenant of id '${ref.id}'` : `there is no tenant of slug '${ref.slug}'`
    )
  return tenant
}

/**
 * Runs `work` under the tenant's lock.
 *
 * @param resumes kinds of unfinished operations that `work` ends or continues
 * @throws FST_TENANCY_TENANT_UNKNOWN
 * @throws FST_TENANCY_TENANT_CONFLICT if another process holds the lock, or an operation of another
 *   kind is not finished
 */
export async function withTenant<T> (
  context: ManagerContext,
  ref: TenantRef,
  resumes: readonly OperationKind[],
  work: (tenant: TenantRecord) => Promise<T>
): Promise<T> {
  const { id } = await findTenant(context, ref)
  return context.locks.hold(
    tenantLock(id),
    'another process is at work on this tenant at this moment',
    async () => {
      const operation = await openOperation(context.shards.get('default'), id)
      if (operation !== undefined && !resumes.includes(operation.kind))
        throw tenantConflict(
          `a ${operation.kind} of this tenant is not finished: call it again first`
        )
      return work(await findTenant(context, { id }))
    }
  )
}
