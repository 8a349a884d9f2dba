import { tenantConflict, type TenantRecord, type TenantRef } from '@fastify-tenancy/core'

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
import { assertElsewhere, destination, type MoveInput } from './target.ts'
import { clearLedgerCopy, restoreAccess, undoMove } from './undo.ts'

/** A tenant that has moved. */
export interface MovedTenant extends TenantRecord {
  /** For how long it was locked out, in milliseconds; 0 where nothing was copied. */
  readonly paused: number
  /** What is left to do: triggers that could not be taken away, which {@link Manager.confirmMove} tries again, and shared tables that its own database does not have. */
  readonly note?: string
}

/** What later steps need of earlier ones. */
interface MoveState extends Copied {
  /** When the tenant was locked out: ISO. */
  readonly pausedAt: string
  readonly paused: number
  readonly note?: string
  /** Shared tables that the new home does not have. */
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
  // One that was cut short before it wrote down where to has everything before it.
  if (unfinished?.kind !== 'move' || old === undefined) {
    if (old?.isSwitched)
      throw tenantConflict('the tenant was moved, and its old copy is still there: confirm that move first')
    assertElsewhere(tenant, target)
    await assertLockable(context, tenant)
    if (isSamePlacement(tenant, target)) return { ...await switchRules(context, tenant, target), paused: 0 }
  } else if (!isSamePlacement(old.target, target)) {
    throw tenantConflict(
      'a move of this tenant to another place is not finished: call that again, or cancel it first'
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
        `the tenant's own database does not have the shared tables ${
          missing.join(', ')
        }: make them there, in its migrations, or statements that read them fail`
      ]]
    return {
      ...await findTenant(context, tenant),
      paused,
      ...(notes.length > 0 && { note: notes.join('; ') })
    }
  } catch (error) {
    // What cannot be taken back now is taken up, or cancelled, by the next call. The first error is the one that matters.
    if (isAtWork) await undoMove(context, tenant).catch(() => {})
    throw error
  }
}

/** Each step may have happened already. What is where, the first one writes down. */
function moveSteps (
  context: ManagerContext,
  tenant: TenantRecord,
  target: TenantPlacement,
  pause: Pause
): OperationStep<MoveState>[] {
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
    // A move that was taken back only in part may have left the lock: whoever begins again with the copy has the tenant served.
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
    // Sessions of a database of the tenant's own were ended by its fence.
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

// From the change of the record on, the target is the tenant's home. The source stays locked for ever, or until it is moved back.
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
  // Not before the switch: a move that is taken back has changed nothing.
  if (target.isolation === 'database' && context.options.migrations.tenant !== undefined)
    await copyOwnLedger(context, now)
  await restoreAccess(context, now.status, target)
}

// The tenant has moved, and its old tables belong to others, who read them: what is left there fails nothing.
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
        `the triggers that followed the move are still there (${
          error instanceof Error ? error.message : String(error)
        }): confirm the move, or see the doctor, D516`
      )
    }
  }
}

/** From rls to row, or back: the rows stay where they are. */
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

// What `tenants.decrypt` reads may be a URL with a password: it is nobody's to write down.
function describe ({ isolation, placement: { shard } }: TenantPlacement): string {
  return isolation === 'database' ? isolation : `${isolation}:${shard}`
}
