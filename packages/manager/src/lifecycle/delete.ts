import type { TenantRecord, TenantRef } from '@fastify-tenancy/core'
import { checkOptions, bool, duration } from '@fastify-tenancy/core/options'
import * as v from 'valibot'

import type { ManagerContext } from '../context/context.ts'
import { lockOut } from '../lockouts/lockout.ts'
import { changeTenant } from '../operations/audit.ts'
import { findTenant } from '../operations/find.ts'
import { runSteps, type OperationStep } from '../operations/run-steps.ts'
import { assertTransition } from '../operations/state.ts'
import { readOutside } from '../removal/outside.ts'
import { countTenant } from '../tenant-rows/count.ts'
import { readClock, readDeletion, writeDeletion, type Deletion } from './deletion.ts'

/** Options of {@link Manager.delete}. */
export interface DeleteInput {
  /**
   * How long the data is kept and `resume` can take the deletion back: `'7d'`, `'0s'`. A tenant
   * that was never active has no grace period. @default '7d'
   */
  readonly grace?: string
  /** Only reports what would be deleted. @default false */
  readonly dryRun?: boolean
  /** Keeps the data. Only the tenant, its role and its login are removed. @default false */
  readonly keepData?: boolean
}

/** What a deletion removes, and when. */
export interface DeleteReport {
  readonly tenant: TenantRecord
  readonly isDryRun: boolean
  /** When {@link Manager.purgeDue} removes the data. */
  readonly due: Date
  readonly keepsData: boolean
  /** The tenant's rows by table, in a dry run. Tables without rows are omitted. */
  readonly rows?: Readonly<Record<string, number>>
  /**
   * Objects outside the tenant's placement that depend on it, in a dry run: `view public.report`. A
   * purge is refused while there are any.
   */
  readonly dependents?: readonly string[]
  /**
   * Objects elsewhere that the tenant's role may use, in a dry run: `table public.report`. The
   * privileges end with the role.
   */
  readonly grants?: readonly string[]
  /**
   * Like `grants`, but in other databases: object and database. A purge is refused while there are
   * any, because PostgreSQL refuses to drop the role.
   */
  readonly grantsElsewhere?: readonly string[]
}

const schema = v.strictObject({
  grace: v.optional(
    v.union([v.pipe(
      v.literal('0s'),
      v.transform(() => 0)
    ), duration], "must be a duration with a unit, such as '7d' or '0s'"),
    '7d'
  ),
  dryRun: v.optional(bool, false),
  keepData: v.optional(bool, false)
}, 'must be an object')

export async function deleteTenant (
  context: ManagerContext,
  ref: TenantRef,
  input: DeleteInput = {}
): Promise<DeleteReport> {
  const { grace, dryRun, keepData: keepsData } = checkOptions(schema, input, 'options')
  const tenant = await findTenant(context, ref)
  const client = context.shards.get('default')
  const { status } = tenant
  if (status !== 'deleting') assertTransition(status, 'deleting')
  const was = status === 'provisioning' || status === 'active' || status === 'suspended'
    ? status
    : (await readDeletion(client, tenant.id))?.was ?? 'active'
  const due = new Date(await readClock(client) + (was === 'provisioning' ? 0 : grace))
  if (dryRun)
    return {
      tenant,
      isDryRun: true,
      due,
      keepsData,
      rows: await countTenant(context, tenant),
      ...await readOutside(context, tenant)
    }
  const deletion: Deletion = { was, keepsData, due }
  const lock: OperationStep<object> = { name: 'lockout', run: () => lockOut(context, tenant, 'deleting') }
  const mark: OperationStep<object> = { name: 'mark', run: () => markDeleting(context, tenant, deletion) }
  // A delete ends a failed create or import.
  await runSteps(context, {
    tenant,
    kind: 'delete',
    input: { grace: `${grace / 1000}s`, keepsData },
    state: {},
    steps: [lock, mark],
    replaces: ['create', 'import']
  })
  return { tenant: await findTenant(context, { id: tenant.id }), isDryRun: false, due, keepsData }
}

async function markDeleting (
  context: ManagerContext,
  { id }: TenantRecord,
  deletion: Deletion
): Promise<void> {
  const now = await findTenant(context, { id })
  if (now.status !== 'deleting') assertTransition(now.status, 'deleting')
  await changeTenant(context, now, { status: 'deleting' }, 'delete', {
    due: deletion.due,
    keepsData: deletion.keepsData
  }, client => writeDeletion(client, id, deletion))
}
