import type { TenantRecord, TenantRef } from '@fastify-tenancy/core'
import { tenantConflict } from '@fastify-tenancy/core/errors'

import type { ManagerContext } from '../context/context.ts'
import { lockOut, waitForOlder } from '../lockouts/lockout.ts'
import { copyOwnLedger, migrateTenant } from '../migrations/migrate-tenant.ts'
import { changeTenant } from '../operations/audit.ts'
import { findTenant, withTenant } from '../operations/find.ts'
import { openOperation, withoutPasswords } from '../operations/journal.ts'
import { markSwitched, readMove, writeMove, type Move } from '../operations/moves.ts'
import { runSteps, type OperationStep } from '../operations/run-steps.ts'
import { assertStatus } from '../operations/state.ts'
import { provisionTenant } from '../placement/provision.ts'
import { isSamePlacement, type TenantPlacement } from '../placement/tenant-placement.ts'
import { addCaptureTriggers, removeCaptureTriggers } from './capture.ts'
import { assertMovable, copyPlacement, type Copied } from './copy-placement.ts'
import { assertLockable } from './lockable.ts'
import { Pause } from './pause.ts'
import { catchUp, replayChanges } from './replay.ts'
import type { MoveStepName } from './steps.ts'
import { assertElsewhere, destination, type MoveInput } from './target.ts'
import { clearLedgerCopy, restoreAccess, undoMove } from './undo.ts'

/** A tenant after its move. */
export interface MovedTenant extends TenantRecord {
  /** How long it was locked out, in milliseconds; 0 if nothing was copied. */
  readonly paused: number
  /**
   * What is left to do: drop triggers that the move failed to drop ({@link Manager.confirmMove}
   * tries again), or create reference tables that the tenant's own database lacks.
   */
  readonly note?: string
}

/** Results of a move's steps that later steps need. */
interface MoveState extends Copied {
  /** When the tenant was locked out, as an ISO date. */
  readonly pausedAt: string
  readonly paused: number
  readonly note?: string
  /** Reference tables that the target lacks. */
  readonly missing: readonly string[]
}

export async function moveTenant (
  context: ManagerContext,
  ref: TenantRef,
  input: MoveInput
): Promise<MovedTenant> {
  const tenant = await findTenant(context, ref)
  assertStatus(tenant.status, 'active', 'suspended')
  const { target, pause } = destination(context, tenant, input)
  const client = context.shards.get('default')
  const unfinished = await openOperation(client, tenant.id)
  const old = await readMove(client, tenant.id)
  // An interrupted move without a row in `tenancy.moves` has done nothing yet, so it starts from
  // the beginning.
  if (unfinished?.kind !== 'move' || old === undefined) {
    if (old?.isSwitched)
      throw tenantConflict('the tenant was moved, and its old copy still exists: confirm that move first')
    assertElsewhere(tenant, target)
    await assertLockable(context, tenant)
    if (isSamePlacement(tenant, target)) return { ...await switchRules(context, tenant, target), paused: 0 }
  } else if (!isSamePlacement(old.target, target)) {
    throw tenantConflict(
      'a move of this tenant to another target is not finished: finish it with the same target, or cancel it'
    )
  }
  let isAtWork = false
  const begun = (step: OperationStep<MoveState>): OperationStep<MoveState> => ({
    ...step,
    run (state) {
      isAtWork = true
      return step.run(state)
    }
  })
  try {
    const { paused, note, missing } = await runSteps<MoveState>(context, {
      tenant,
      kind: 'move',
      input: { from: describe(old?.source ?? tenant), to: describe(target), pause: `${pause / 1000}s` },
      state: { seen: '', fingerprint: '', pausedAt: '', paused: 0, missing: [] },
      steps: moveSteps(context, tenant, target, new Pause(pause)).map(begun)
    })
    const notes = [...note === undefined ? [] : [note], ...missing.length === 0
      ? []
      : [
        `the tenant's own database lacks the shared tables ${
          missing.join(', ')
        }: create them in its migrations, otherwise statements that read them fail`
      ]]
    return {
      ...await findTenant(context, tenant),
      paused,
      ...(notes.length > 0 && { note: notes.join('; ') })
    }
  } catch (error) {
    // If the undo fails, the next call resumes or cancels the move. The first error is reported,
    // because it is the cause.
    if (isAtWork) await undoMove(context, tenant).catch(() => {})
    throw error
  }
}

/**
 * Returns the steps of a move. Each is idempotent. The first one writes source and target to
 * `tenancy.moves`.
 */
function moveSteps (
  context: ManagerContext,
  tenant: TenantRecord,
  target: TenantPlacement,
  pause: Pause
): OperationStep<MoveState, MoveStepName>[] {
  const { id } = tenant
  const client = context.shards.get('default')
  const placements = async (): Promise<Move> => {
    const move = await readMove(client, id)
    if (move === undefined) throw tenantConflict('the move was cancelled meanwhile')
    return move
  }
  const plan = async (): Promise<void> => {
    if (await readMove(client, id) !== undefined) return
    const { isolation, placement } = await findTenant(context, { id })
    await writeMove(client, { source: { id, isolation, placement }, target, isSwitched: false })
  }
  const provision = async (): Promise<void> => {
    const move = await placements()
    await clearLedgerCopy(context, move)
    await provisionTenant(context, { ...tenant, ...move.target })
  }
  const catchUpWithChanges = async (): Promise<void> => {
    const { source } = await placements()
    // A partly undone move may have left the lockout in place. Lift it, because the tenant is
    // served during the copy.
    await restoreAccess(context, tenant.status, source)
    await addCaptureTriggers(context, source)
  }
  const lock = async (): Promise<Partial<MoveState>> => {
    const { source } = await placements()
    pause.begin()
    const pausedAt = new Date().toISOString()
    await lockOut(context, source, 'moving')
    return { pausedAt }
  }
  const wait = async (): Promise<void> => {
    const { source } = await placements()
    // For strategy `database`, the lockout terminated the sessions itself.
    if (source.isolation !== 'database')
      await waitForOlder(context.shards.get(source.placement.shard), {
        timeout: Math.min(context.options.waitTimeout, pause.left())
      })
  }
  return [
    { name: 'plan', run: plan },
    { name: 'provision', run: provision },
    {
      name: 'migrate',
      run: async () => migrateTenant(context, { ...tenant, ...(await placements()).target }, true)
    },
    { name: 'check', run: async () => assertMovable(context, await placements()) },
    { name: 'capture', run: catchUpWithChanges },
    { name: 'snapshot', run: async () => copyPlacement(context, await placements()) },
    { name: 'catch-up', run: async copied => catchUp(context, await placements(), copied, pause) },
    { name: 'lockout', run: lock },
    { name: 'wait', run: wait },
    {
      name: 'replay',
      run: async copied =>
        replayChanges(context, await placements(), copied, pause.begin()).then(({ seen, fingerprint }) => ({
          seen,
          fingerprint
        }))
    },
    { name: 'switch', run: async () => switchPlacement(context, await placements()) },
    {
      name: 'open',
      run: async ({ pausedAt }) =>
        open(context, await placements()).then(() => ({ paused: Date.now() - Date.parse(pausedAt) }))
    },
    { name: 'release', run: async () => release(context, (await placements()).source) }
  ]
}

// From the change of the tenant's record on, the target is its placement. The source stays locked
// out until the tenant moves back or its old copy is removed.
async function switchPlacement (context: ManagerContext, { source, target }: Move): Promise<void> {
  await lockOut(context, source, 'moved')
  const now = await findTenant(context, source)
  if (now.isolation === target.isolation && isSamePlacement(now, target)) return
  const { isolation, placement } = target
  await changeTenant(context, now, { isolation, placement }, 'move', {
    from: describe(source),
    to: describe(target)
  }, client => markSwitched(client, source.id))
}

async function open (context: ManagerContext, { target }: Move): Promise<void> {
  const now = await findTenant(context, target)
  // Only after the switch, so that undoing an unfinished move finds the ledger unchanged.
  if (target.isolation === 'database' && context.options.migrations.tenant !== undefined)
    await copyOwnLedger(context, now)
  await restoreAccess(context, now.status, target)
}

// Reports a failure as a note, because the tenant has moved already. The triggers are on tables
// that other tenants use, so their lock may not be granted.
async function release (
  context: ManagerContext,
  source: TenantPlacement
): Promise<Pick<MovedTenant, 'note'>> {
  try {
    await removeCaptureTriggers(context, source)
    return {}
  } catch (error) {
    return {
      note: withoutPasswords(
        `the triggers of the move still exist (${
          error instanceof Error ? error.message : String(error)
        }): confirm the move, which drops them, or see finding D516 of the doctor`
      )
    }
  }
}

/** Changes between `rls` and `row`; the rows stay in place. */
async function switchRules (
  context: ManagerContext,
  { id }: TenantRecord,
  { isolation, placement }: TenantPlacement
): Promise<TenantRecord> {
  return withTenant(context, { id }, [], async tenant => {
    await provisionTenant(context, { ...tenant, isolation, placement })
    return changeTenant(context, tenant, { isolation, placement }, 'move', {
      from: describe(tenant),
      to: describe({ id, isolation, placement })
    })
  })
}

// Omits the database, because `tenants.decrypt` may return a URL with a password from it.
function describe ({ isolation, placement: { shard } }: TenantPlacement): string {
  return isolation === 'database' ? isolation : `${isolation}:${shard}`
}
