import { tenantConflict, TenantConflictError, type TenantRecord, type TenantRef } from '@fastify-tenancy/core'

import type { ManagerContext } from '../context.ts'
import { audit } from '../lifecycle/audit.ts'
import { fence, liftFence } from '../lifecycle/fence.ts'
import { findTenant, withTenant } from '../lifecycle/find.ts'
import { abandonOperation, forgetSteps, openOperation } from '../lifecycle/journal.ts'
import { assertHomeFree } from '../lifecycle/outside.ts'
import { removeData, removeRole } from '../lifecycle/remove-home.ts'
import { copyOwnLedger } from '../migrations/migrate-tenant.ts'
import { withClient } from '../shard-pools.ts'
import { hasServer } from '../tenant-server.ts'
import type { Housed } from '../transfer/home.ts'
import { uncapture } from './capture.ts'
import { forgetMove, readMove, type Move } from './moves.ts'

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
      await forgetSteps(client, tenant.id, ['capture', 'snapshot', 'follow', 'fence', 'wait', 'replay'])
      await letIn(context, tenant.status, move.source)
      await uncapture(context, move.source)
    }
    const isOurs = isChecked || await isMarked(context, tenant, move.target)
    if (isOurs && move.target.isolation === 'schema')
      await assertHomeFree(context, move.target, keepsRole(context, move.target, move.source))
    if (isOurs) await removeCopy(context, tenant, move.target, move.source).catch(leaveOthers)
    // The schema's ledger was in the place of that of the database, which is the tenant's again.
    if (move.source.isolation === 'database' && context.options.migrations.tenant !== undefined)
      await copyOwnLedger(context, { ...tenant, ...move.source })
    await withClient(client, async client => {
      await forgetMove(client, tenant.id)
      await abandonOperation(client, tenant.id)
      await audit(client, tenant.id, 'move-cancel')
    })
    return findTenant(context, { id: tenant.id })
  })
}

/** Has a tenant served from a home, or only as far as one that is suspended is. Again does no harm. */
export async function letIn (
  context: ManagerContext,
  status: TenantRecord['status'],
  home: Housed
): Promise<void> {
  await (status === 'suspended' ? fence(context, home, 'suspended') : liftFence(context, home))
}

// Before it was checked, what is in shared tables, or in a database that is marked as nobody's, may be somebody else's.
async function isMarked (context: ManagerContext, tenant: TenantRecord, target: Housed): Promise<boolean> {
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
  gone: Housed,
  kept: Housed
): Promise<void> {
  await removeData(context, gone)
  if (gone.isolation === 'database' || (hasRole(context, gone) && !keepsRole(context, gone, kept)))
    await removeRole(context, { ...tenant, ...gone })
}

/** Whether the role of a home that goes is that of the one that stays. */
export function keepsRole (context: ManagerContext, gone: Housed, kept: Housed): boolean {
  return hasRole(context, kept) && gone.placement.shard === kept.placement.shard
}

function hasRole ({ options: { rls } }: ManagerContext, { isolation }: Housed): boolean {
  return isolation === 'schema' || (isolation === 'rls' && rls.context === 'role')
}

/** Where the default shard's copy of the ledger of a tenant's own database would pass for that of its schema. */
export async function clearLedgerCopy ({ shards }: ManagerContext, { source, target }: Move): Promise<void> {
  if (
    source.isolation !== 'database' || target.isolation !== 'schema' || target.placement.shard !== 'default'
  ) return
  await shards.get('default').query('delete from tenancy.migration_ledger where tenant_id = $1', [source.id])
}
