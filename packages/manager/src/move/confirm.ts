import type { TenantRecord, TenantRef } from '@fastify-tenancy/core'
import { tenantConflict } from '@fastify-tenancy/core/errors'
import { tenantRole } from '@fastify-tenancy/core/keys'
import { quoteName, type SqlClient } from '@fastify-tenancy/postgres/client'
import { rolesOf } from '@fastify-tenancy/postgres/roles'

import type { ManagerContext } from '../context/context.ts'
import { withClient } from '../context/shard-pools.ts'
import { waitForOlder } from '../lockouts/lockout.ts'
import { hasOwnTables } from '../migrations/migrate-tenant.ts'
import { audit } from '../operations/audit.ts'
import { findTenant } from '../operations/find.ts'
import { openOperation } from '../operations/journal.ts'
import { forgetMove, readMove, type Move } from '../operations/moves.ts'
import { runSteps, type OperationStep } from '../operations/run-steps.ts'
import type { TenantPlacement } from '../placement/tenant-placement.ts'
import { assertPlacementFree } from '../removal/outside.ts'
import { removeCaptureTriggers } from './capture.ts'
import { keepsRole, removeCopy } from './undo.ts'

/** Removes the old copy of a tenant that has moved. */
export async function confirmMove (context: ManagerContext, ref: TenantRef): Promise<TenantRecord> {
  const tenant = await findTenant(context, ref)
  const client = context.shards.get('default')
  const move = await readMove(client, tenant.id)
  if (move === undefined && (await openOperation(client, tenant.id))?.kind !== 'confirm')
    throw tenantConflict('the tenant was not moved, or its move is confirmed already')
  if (move?.isSwitched === false)
    throw tenantConflict('the move is not finished: call it again, or cancel it')
  if (move !== undefined)
    await assertPlacementFree(context, move.source, keepsRole(context, move.source, move.target))
  await runSteps(context, {
    tenant,
    kind: 'confirm',
    state: {},
    steps: move === undefined ? [] : confirmSteps(context, tenant, move)
  })
  return findTenant(context, { id: tenant.id })
}

function confirmSteps (
  context: ManagerContext,
  tenant: TenantRecord,
  { source, target }: Move
): OperationStep<object>[] {
  return [
    { name: 'wait', run: () => wait(context, source) },
    // An earlier move may have failed to drop the triggers. They would record every row that the
    // next step deletes.
    {
      name: 'release',
      run: async () => source.isolation === 'database' ? undefined : removeCaptureTriggers(context, source)
    },
    { name: 'data', run: () => removeCopy(context, tenant, source, target) },
    { name: 'role', run: () => narrowRole(context, source, target) },
    { name: 'ledger', run: () => removeLedgers(context, target) },
    {
      name: 'forget',
      run: () => withClient(context.shards.get('default'), client => forget(context, client, tenant))
    }
  ]
}

/** Removes the copy that is not in use, of a tenant that is being deleted or purged. */
export async function removeOldCopy (context: ManagerContext, tenant: TenantRecord): Promise<void> {
  const client = context.shards.get('default')
  const move = await readMove(client, tenant.id)
  if (move === undefined) return
  await removeCopy(context, tenant, move.isSwitched ? move.source : move.target, tenant)
  await forgetMove(client, tenant.id)
}

// A transaction that began before the lockout may still read the old copy.
async function wait (
  { options: { waitTimeout: timeout }, shards }: ManagerContext,
  { isolation, placement: { shard } }: TenantPlacement
): Promise<void> {
  if (isolation !== 'database') await waitForOlder(shards.get(shard), { timeout })
}

/**
 * Revokes from the tenant's role, which is the same one before and after the move, what its new
 * placement does not need.
 */
async function narrowRole (
  context: ManagerContext,
  source: TenantPlacement,
  target: TenantPlacement
): Promise<void> {
  if (
    target.isolation !== 'schema' || source.isolation !== 'rls' || context.options.rls.context !== 'role' ||
    source.placement.shard !== target.placement.shard
  ) return
  await withClient(context.shards.get(target.placement.shard), async client => {
    const { rows: [row] } = await client.query<{ name: string }>(
      'select pg_catalog.current_database()::text as name'
    )
    const name = row?.name ?? ''
    await client.query(
      `revoke ${quoteName(rolesOf(name).app)} from ${quoteName(tenantRole(target.id, name))}`
    )
  })
}

// Deletes ledger entries for databases in which the tenant has no tables any more.
async function removeLedgers (
  { shards }: ManagerContext,
  { id, isolation, placement }: TenantPlacement
): Promise<void> {
  const kept = isolation === 'schema' ? placement.shard : 'default'
  for (const shard of shards.names) {
    if (hasOwnTables({ isolation }) && shard === kept) continue
    await shards.get(shard).query('delete from tenancy.migration_ledger where tenant_id = $1', [id])
  }
}

async function forget (context: ManagerContext, client: SqlClient, { id }: TenantRecord): Promise<void> {
  await forgetMove(client, id)
  await audit(context, client, id, 'move-confirm')
}
