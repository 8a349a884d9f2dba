import { tenantConflict, TenantConflictError, type TenantRecord, type TenantRef } from '@fastify-tenancy/core'

import type { ManagerContext } from '../context/context.ts'
import { withClient } from '../context/shard-pools.ts'
import { lockOut, liftLockout } from '../lockouts/lockout.ts'
import { copyOwnLedger } from '../migrations/migrate-tenant.ts'
import { audit } from '../operations/audit.ts'
import { findTenant, withTenant } from '../operations/find.ts'
import { abandonOperation, forgetSteps, openOperation } from '../operations/journal.ts'
import { forgetMove, readMove, type Move } from '../operations/moves.ts'
import type { TenantPlacement } from '../placement/tenant-placement.ts'
import { hasServer } from '../placement/tenant-server.ts'
import { assertPlacementFree } from '../removal/outside.ts'
import { removeData, removeRole } from '../removal/remove-placement.ts'
import { removeCaptureTriggers } from './capture.ts'

/** Takes a move back that has not come to its switch: the copy goes, and the tenant is served from where it was. */
export async function undoMove (context: ManagerContext, ref: TenantRef): Promise<TenantRecord> {
  return withTenant(context, ref, ['move'], async tenant => {
    const client = context.shards.get('default')
    const move = await readMove(client, tenant.id)
    const operation = await openOperation(client, tenant.id)
    if (move === undefined) {
      if (operation === undefined) throw tenantConflict('the tenant is not being moved')
      // Cut short before anything was made.
      await abandonOperation(client, tenant.id)
      return tenant
    }
    if (move.isSwitched) throw tenantConflict('the tenant has moved: move it back, or confirm the move')
    const isChecked = operation?.done.includes('check') === true
    if (isChecked) {
      // First of all it is served again, from a home that is then written: what was copied is not enough to go on with.
      await forgetSteps(client, tenant.id, ['capture', 'snapshot', 'catch-up', 'lockout', 'wait', 'replay'])
      await restoreAccess(context, tenant.status, move.source)
      await removeCaptureTriggers(context, move.source)
    }
    const isOurs = isChecked || await isMarked(context, tenant, move.target)
    if (isOurs && move.target.isolation === 'schema')
      await assertPlacementFree(context, move.target, keepsRole(context, move.target, move.source))
    if (isOurs) await removeCopy(context, tenant, move.target, move.source).catch(leaveOthers)
    // The schema's ledger was in the place of that of the database, which is the tenant's again.
    if (move.source.isolation === 'database' && context.options.migrations.tenant !== undefined)
      await copyOwnLedger(context, { ...tenant, ...move.source })
    await withClient(client, async client => {
      await forgetMove(client, tenant.id)
      await abandonOperation(client, tenant.id)
      await audit(context, client, tenant.id, 'move-cancel')
    })
    return findTenant(context, { id: tenant.id })
  })
}

/** Has a tenant served from a home, or only as far as one that is suspended is. Again does no harm. */
export async function restoreAccess (
  context: ManagerContext,
  status: TenantRecord['status'],
  placement: TenantPlacement
): Promise<void> {
  await (status === 'suspended' ? lockOut(context, placement, 'suspended') : liftLockout(context, placement))
}

// Before it was checked, what is in shared tables, or in a database that is marked as nobody's, may be somebody else's.
async function isMarked (
  context: ManagerContext,
  tenant: TenantRecord,
  target: TenantPlacement
): Promise<boolean> {
  if (target.isolation === 'schema') return true
  return target.isolation === 'database' && hasServer({ ...tenant, ...target }, context)
}

function leaveOthers (error: unknown): void {
  if (!(error instanceof TenantConflictError)) throw error
}

/** Removes one of a tenant's two homes, and the role that nothing but it needed. */
export async function removeCopy (
  context: ManagerContext,
  tenant: TenantRecord,
  gone: TenantPlacement,
  kept: TenantPlacement
): Promise<void> {
  await removeData(context, gone)
  if (gone.isolation === 'database' || (hasRole(context, gone) && !keepsRole(context, gone, kept)))
    await removeRole(context, { ...tenant, ...gone })
}

/** Whether the role of a home that goes is that of the one that stays. */
export function keepsRole (context: ManagerContext, gone: TenantPlacement, kept: TenantPlacement): boolean {
  return hasRole(context, kept) && gone.placement.shard === kept.placement.shard
}

function hasRole ({ options: { rls } }: ManagerContext, { isolation }: TenantPlacement): boolean {
  return isolation === 'schema' || (isolation === 'rls' && rls.context === 'role')
}

/** Where the default shard's copy of the ledger of a tenant's own database would pass for that of its schema. */
export async function clearLedgerCopy ({ shards }: ManagerContext, { source, target }: Move): Promise<void> {
  if (
    source.isolation !== 'database' || target.isolation !== 'schema' || target.placement.shard !== 'default'
  ) return
  await shards.get('default').query('delete from tenancy.migration_ledger where tenant_id = $1', [source.id])
}
