import type { TenantRecord, TenantRef } from '@fastify-tenancy/core'
import { tenantKey } from '@fastify-tenancy/core/keys'
import { checkOptions, nonEmptyString } from '@fastify-tenancy/core/options'
import { createHash } from 'node:crypto'
import * as v from 'valibot'

import type { ManagerContext } from '../context/context.ts'
import { lockOut, waitForOlder } from '../lockouts/lockout.ts'
import { assertLockable } from '../move/lockable.ts'
import { restoreAccess } from '../move/undo.ts'
import { changeTenant } from '../operations/audit.ts'
import { findTenant } from '../operations/find.ts'
import { abandonOperation, openOperation } from '../operations/journal.ts'
import { runSteps, type OperationStep } from '../operations/run-steps.ts'
import { assertStatus } from '../operations/state.ts'
import type { Manifest } from '../tenant-rows/manifest.ts'
import type { Export } from '../tenant-rows/read-export.ts'
import { applyExport, type RestoredRows } from './apply.ts'
import { isDatabaseUrl, withSource } from './source.ts'

/** Options of {@link Manager.restore}. */
export interface RestoreInput {
  /** The folder of an export of this tenant, or the URL of a restored copy of its database. */
  readonly from: string
}

/** The result of {@link Manager.restore}. */
export interface RestoreReport {
  readonly tenant: TenantRecord
  /** Changed rows by table; tables with equal rows are omitted. */
  readonly rows: RestoredRows
}

interface RestoreState {
  readonly rows: RestoredRows
}

const schema = v.strictObject({ from: nonEmptyString }, 'must be an object')

/** Changes a tenant's rows to those of a source, in place, under a lockout. */
export async function restoreTenant (
  context: ManagerContext,
  ref: TenantRef,
  input: RestoreInput
): Promise<RestoreReport> {
  const { from } = checkOptions(schema, input, 'restore')
  const tenant = await findTenant(context, ref)
  assertStatus(tenant.status, 'active', 'suspended')
  await assertLockable(context, tenant)
  return withSource(context, tenant, from, source => run(context, tenant, from, source))
}

async function run (
  context: ManagerContext,
  tenant: TenantRecord,
  from: string,
  source: Export
): Promise<RestoreReport> {
  const client = context.shards.get('default')
  const rows = digestOf(source.manifest)
  const unfinished = await openOperation(client, tenant.id)
  // A restore writes all rows or none. So an interrupted restore from another source can be
  // abandoned.
  if (unfinished?.kind === 'restore' && unfinished.input['rows'] !== rows)
    await abandonOperation(client, tenant.id)
  let isRestored = unfinished?.kind === 'restore' && unfinished.input['rows'] === rows &&
    unfinished.done.includes('rows')
  try {
    const state = await runSteps<RestoreState>(context, {
      tenant,
      kind: 'restore',
      input: {
        source: isDatabaseUrl(from) ? new URL(from).pathname.slice(1) : from,
        exportedAt: source.manifest.exportedAt,
        rows
      },
      state: { rows: {} },
      steps: stepsOf(context, tenant, source, () => {
        isRestored = true
      })
    })
    return { tenant: await findTenant(context, tenant), rows: state.rows }
  } catch (error) {
    // After the rows were restored, the same call finishes the rest. Before that, nothing was
    // changed, so the tenant is served again.
    if (!isRestored) await takeBack(context, tenant).catch(() => {})
    throw error
  }
}

function stepsOf (
  context: ManagerContext,
  tenant: TenantRecord,
  source: Export,
  onRestored: () => void
): readonly OperationStep<RestoreState>[] {
  const { shards, options: { waitTimeout: timeout } } = context
  return [
    { name: 'lock', run: () => lockOut(context, tenant, 'moving') },
    {
      name: 'wait',
      // For strategy `database`, the lockout terminated the sessions itself.
      run: async () => {
        if (tenant.isolation !== 'database')
          await waitForOlder(shards.get(tenant.placement.shard), { timeout })
      }
    },
    {
      name: 'rows',
      run: async () => {
        const rows = await applyExport(context, tenant, source)
        onRestored()
        return { rows }
      }
    },
    { name: 'cache', run: () => flushCache(context, tenant) },
    { name: 'record', run: ({ rows }) => record(context, tenant, source.manifest, rows) },
    {
      name: 'open',
      run: async () => restoreAccess(context, (await findTenant(context, { id: tenant.id })).status, tenant)
    }
  ]
}

/**
 * Deletes the cache's generation token in Redis, so that every cached value of the tenant is a
 * miss.
 */
async function flushCache (context: ManagerContext, { id }: TenantRecord): Promise<void> {
  const redis = await context.redis.get()
  await redis?.ready()
  await redis?.del(tenantKey(id, 'cache-epoch'))
}

// Updates the record, whose change makes every process load the tenant again.
async function record (
  context: ManagerContext,
  { id }: TenantRecord,
  { exportedAt }: Manifest,
  rows: RestoredRows
): Promise<void> {
  const now = await findTenant(context, { id })
  await changeTenant(context, now, { status: now.status }, 'restore', { exportedAt, rows })
}

async function takeBack (context: ManagerContext, { id }: TenantRecord): Promise<void> {
  const client = context.shards.get('default')
  if ((await openOperation(client, id))?.kind !== 'restore') return
  const now = await findTenant(context, { id })
  await restoreAccess(context, now.status, now)
  await abandonOperation(client, id)
}

/** Returns a hash of the source's rows that does not depend on the date of the export. */
function digestOf ({ tables }: Manifest): string {
  return createHash('sha256').update(
    JSON.stringify(tables.map(({ name, rows, sha256 }) => [name, rows, sha256]))
  ).digest('hex')
}
