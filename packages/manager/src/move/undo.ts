import { TenantConflictError, type TenantRecord, type TenantRef } from '@fastify-tenancy/core'
import { tenantConflict } from '@fastify-tenancy/core/errors'

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
import { repeatedSteps } from './steps.ts'

/**
 * Undoes a move that has not switched yet: removes the copy and serves the tenant from its source.
 */
export async function undoMove (context: ManagerContext, ref: TenantRef): Promise<TenantRecord> {
  return withTenant(context, ref, ['move'], async tenant => {
    const client = context.shards.get('default')
    const move = await readMove(client, tenant.id)
    const operation = await openOperation(client, tenant.id)
    if (move === undefined) {
      if (operation === undefined) throw tenantConflict('the tenant is not being moved')
      // The move was interrupted before it created anything.
      await abandonOperation(client, tenant.id)
      return tenant
    }
    if (move.isSwitched) throw tenantConflict('the tenant has moved: move it back, or confirm the move')
    const isChecked = operation?.done.includes('check') === true
    if (isChecked) {
      // Restore access first. The source can then be written, so the copied rows no longer suffice
      // to resume, and the journal must run these steps again.
      await forgetSteps(client, tenant.id, repeatedSteps)
      await restoreAccess(context, tenant.status, move.source)
      await removeCaptureTriggers(context, move.source)
    }
    const isOurs = isChecked || await isMarked(context, tenant, move.target)
    if (isOurs && move.target.isolation === 'schema')
      await assertPlacementFree(context, move.target, keepsRole(context, move.target, move.source))
    if (isOurs) await removeCopy(context, tenant, move.target, move.source).catch(leaveOthers)
    // The entry of the schema replaced that of the tenant's own database, which is in use again.
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

/**
 * Serves a tenant from a placement. A suspended tenant gets the lockout `suspended` instead.
 * Idempotent.
 */
export async function restoreAccess (
  context: ManagerContext,
  status: TenantRecord['status'],
  placement: TenantPlacement
): Promise<void> {
  await (status === 'suspended' ? lockOut(context, placement, 'suspended') : liftLockout(context, placement))
}

// Before the step `check`, rows in tenant tables may belong to another tenant. So may a database
// without this tenant's mark.
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

/**
 * Removes one of a tenant's two placements, and its role unless the kept placement needs that role.
 */
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

/** Whether the placement that is kept uses the role of the one that is removed. */
export function keepsRole (context: ManagerContext, gone: TenantPlacement, kept: TenantPlacement): boolean {
  return hasRole(context, kept) && gone.placement.shard === kept.placement.shard
}

function hasRole ({ options: { rls } }: ManagerContext, { isolation }: TenantPlacement): boolean {
  return isolation === 'schema' || (isolation === 'rls' && rls.context === 'role')
}

/**
 * Deletes the default shard's copy of the ledger of a tenant's own database, which would be
 * mistaken for the ledger of its new schema.
 */
export async function clearLedgerCopy ({ shards }: ManagerContext, { source, target }: Move): Promise<void> {
  if (
    source.isolation !== 'database' || target.isolation !== 'schema' || target.placement.shard !== 'default'
  ) return
  await shards.get('default').query('delete from tenancy.migration_ledger where tenant_id = $1', [source.id])
}
