import type { TenantRecord, TenantRef } from '@fastify-tenancy/core'
import { tenantConflict } from '@fastify-tenancy/core/errors'
import { tenantIdentifier, tenantKey, tenantKeyPrefix, tenantRole } from '@fastify-tenancy/core/keys'
import type { SqlClient } from '@fastify-tenancy/postgres/client'
import { schemaOf } from '@fastify-tenancy/postgres/placement'

import { tellChange } from '../context/announce-change.ts'
import type { ManagerContext } from '../context/context.ts'
import { withClient } from '../context/shard-pools.ts'
import { lockOut, waitForOlder } from '../lockouts/lockout.ts'
import { forgetMigrations } from '../migrations/migrate-tenant.ts'
import { removeOldCopy } from '../move/confirm.ts'
import { changeTenant } from '../operations/audit.ts'
import { findTenant } from '../operations/find.ts'
import { openOperation } from '../operations/journal.ts'
import { runSteps, type OperationStep } from '../operations/run-steps.ts'
import { assertStatus } from '../operations/state.ts'
import { userSteps } from '../operations/user-steps.ts'
import { assertNothingOutside, assertRoleDroppable } from '../removal/outside.ts'
import { removeData, removeGlobalRows, removeRole } from '../removal/remove-placement.ts'
import { countByColumn, countTenant } from '../tenant-rows/count.ts'
import { dueDeletions, forgetDeletion, readDeletion } from './deletion.ts'

/** What a purge removed. */
export interface PurgeReport {
  readonly tenant: TenantRecord
  /**
   * Rows by table, counted before the removal. Empty if the data was kept or the tenant had been
   * purged before.
   */
  readonly rows: Readonly<Record<string, number>>
  readonly keptData: boolean
}

/** The result of {@link Manager.purgeDue}. */
export interface PurgeDueReport {
  readonly purged: readonly PurgeReport[]
  /** Tenants whose purge failed, by id. The next call resumes them. */
  readonly failed: readonly { readonly id: string; readonly error: unknown }[]
}

interface PurgeState {
  readonly rows: Readonly<Record<string, number>>
}

export async function purgeTenant (context: ManagerContext, ref: TenantRef): Promise<PurgeReport> {
  const client = context.shards.get('default')
  const tenant = await findTenant(context, ref)
  const unfinished = await openOperation(client, tenant.id)
  if (tenant.status === 'deleted' && unfinished === undefined) return { tenant, rows: {}, keptData: false }
  if (tenant.status !== 'deleted') assertStatus(tenant.status, 'deleting')
  const keptData = unfinished?.kind === 'purge'
    ? unfinished.input['keepsData'] === true
    : (await readDeletion(client, tenant.id))?.keepsData ?? false
  // Checked before anything is removed, including resources that the user's steps remove.
  if (!keptData) await assertNothingOutside(context, tenant)
  else if (tenant.isolation !== 'database') await assertRoleDroppable(context, tenant)
  const { rows } = await runSteps<PurgeState>(context, {
    tenant,
    kind: 'purge',
    input: { keepsData: keptData },
    state: { rows: {} },
    replaces: ['delete'],
    steps: keptData ? keepingSteps(context, tenant) : removingSteps(context, tenant)
  })
  return { tenant: await findTenant(context, { id: tenant.id }), rows, keptData }
}

/**
 * Purges every tenant whose deletion is due, one after the other. A failure does not stop the
 * others.
 */
export async function purgeDue (context: ManagerContext): Promise<PurgeDueReport> {
  const purged: PurgeReport[] = []
  const failed: { id: string; error: unknown }[] = []
  for (const id of await dueDeletions(context.shards.get('default'))) {
    try {
      purged.push(await purgeTenant(context, { id }))
    } catch (error) {
      failed.push({ id, error })
    }
  }
  return { purged, failed }
}

function removingSteps (context: ManagerContext, tenant: TenantRecord): OperationStep<PurgeState>[] {
  return [
    { name: 'lockout', run: () => lockOut(context, tenant, 'deleting') },
    { name: 'wait', run: () => wait(context, tenant) },
    { name: 'count', run: async () => ({ rows: await countTenant(context, tenant) }) },
    ...userSteps<PurgeState>(context.options.steps, 'purge', tenant),
    { name: 'data', run: () => removeData(context, tenant) },
    { name: 'old copy', run: () => removeOldCopy(context, tenant) },
    { name: 'ledgers', run: () => forgetMigrations(context, tenant) },
    { name: 'global rows', run: () => removeGlobalRows(context, tenant) },
    { name: 'role', run: () => removeRole(context, tenant) },
    { name: 'redis', run: () => removeKeys(context, tenant) },
    { name: 'verify', run: () => verify(context, tenant) },
    { name: 'registry', run: ({ rows }) => forgetTenant(context, tenant, { rows }) }
  ]
}

function keepingSteps (context: ManagerContext, tenant: TenantRecord): OperationStep<PurgeState>[] {
  return [
    { name: 'lockout', run: () => lockOut(context, tenant, 'deleting') },
    { name: 'wait', run: () => wait(context, tenant) },
    { name: 'role', run: () => removeRole(context, tenant) },
    { name: 'redis', run: () => removeKeys(context, tenant) },
    { name: 'registry', run: () => forgetTenant(context, tenant, { keptData: true }) }
  ]
}

// For strategy `database`, the lockout terminated the sessions itself.
async function wait (
  { options: { waitTimeout: timeout }, shards }: ManagerContext,
  { isolation, placement }: TenantRecord
): Promise<void> {
  if (isolation !== 'database') await waitForOlder(shards.get(placement.shard), { timeout })
}

/**
 * Deletes the cache's generation token first, which makes every cached value unreachable. Then
 * deletes all keys of the tenant and invalidates its record in every process.
 */
async function removeKeys (context: ManagerContext, tenant: TenantRecord): Promise<void> {
  const redis = await context.redis.get()
  await redis?.ready()
  await redis?.del(tenantKey(tenant.id, 'cache-epoch'))
  await redis?.removeAll(tenantKeyPrefix(tenant.id))
  await tellChange(context, tenant)
}

/** Checks that no row, role or schema of the tenant is left. */
async function verify (context: ManagerContext, tenant: TenantRecord): Promise<void> {
  let left = await leftRows(context, tenant)
  if (left.length > 0) {
    // A table may have been added to the options after the removing steps were done.
    await removeData(context, tenant)
    await removeGlobalRows(context, tenant)
    left = await leftRows(context, tenant)
  }
  if (left.length > 0)
    throw tenantConflict(
      `rows of the tenant still exist: ${
        left.join(', ')
      }; list these tables in options.tables, or remove the rows in a step of options.lifecycle.steps, ` +
        'then purge the tenant again'
    )
  if (tenant.isolation === 'database') return
  await withClient(context.shards.get(tenant.placement.shard), async client => {
    const objects = await leftObjects(client, tenant)
    if (objects.length > 0)
      throw tenantConflict(
        `${objects.join(' and ')} of the tenant still exists: drop it, then purge the tenant again`
      )
  })
}

async function leftRows (context: ManagerContext, tenant: TenantRecord): Promise<string[]> {
  return Object.entries(await countByColumn(context, tenant)).map(([table, rows]) => `${rows} in ${table}`)
}

async function leftObjects (client: SqlClient, tenant: TenantRecord): Promise<string[]> {
  const { rows: [row] } = await client.query<{ name: string }>(
    'select pg_catalog.current_database()::text as name'
  )
  const role = tenantRole(tenant.id, row?.name ?? '')
  const { rows } = await client.query<{ what: string }>(
    `
    select 'role ' || rolname as what from pg_catalog.pg_roles where rolname = $1
    union all select 'schema ' || nspname from pg_catalog.pg_namespace where nspname = $2 and $3`,
    [role, tenant.isolation === 'schema' ? schemaOf(tenant) : tenantIdentifier(tenant.id),
      tenant.isolation === 'schema']
  )
  return rows.map(({ what }) => what)
}

/** The record stays, without the names: the slug is free again after 30 days, the id never. */
async function forgetTenant (context: ManagerContext, { id }: TenantRecord, details: object): Promise<void> {
  const now = await findTenant(context, { id })
  if (now.status === 'deleted') return
  await changeTenant(context, now, { status: 'deleted', domains: [] }, 'purge', {
    slug: now.slug,
    ...details
  }, async client => {
    await client.query('delete from tenancy.domains where tenant_id = $1', [id])
    await client.query('delete from tenancy.migration_ledger where tenant_id = $1', [id])
    await forgetDeletion(client, id)
  })
}
