import { tenantConflict, type TenantRecord } from '@fastify-tenancy/core'

import type { ManagerContext } from '../context/context.ts'
import { tenantLock } from '../context/locks.ts'
import { beginOperation, finishOperation, recordError, recordStep, type OperationKind } from './journal.ts'

/** One step of an operation. It may have happened already, when a process died before it was written down. */
export interface OperationStep<S extends object> {
  /** Unique within the operation, and never changed: a later version takes up what an earlier one began. */
  readonly name: string
  /** @returns small facts that later steps need, as JSON keeps them; never a secret */
  readonly run: (state: S) => Promise<Partial<S> | void>
}

export interface OperationPlan<S extends object> {
  /** As its steps were planned on: refused where it was changed before its lock was had. */
  readonly tenant: TenantRecord
  readonly kind: OperationKind
  /** For people who read the journal; a resumed operation runs on what its caller gives. Never a secret. */
  readonly input?: object
  /** What the first step begins with. What was written down before goes over it. */
  readonly state: S
  readonly steps: readonly OperationStep<S>[]
  /** Kinds that are given up for this one. */
  readonly replaces?: readonly OperationKind[]
}

/**
 * Runs the steps of an operation that are not done yet, each written down in a commit of its own. A crash anywhere leaves
 * an operation that the same call takes up. Nobody else works on the tenant meanwhile.
 *
 * @throws FST_TENANCY_TENANT_CONFLICT when somebody does, has changed it since it was read, or has not finished an operation of another kind.
 */
export async function runSteps<S extends object> (
  context: ManagerContext,
  { tenant, kind, input = {}, state: first, steps, replaces = [] }: OperationPlan<S>
): Promise<S> {
  const { locks, shards, registry, options: { progress } } = context
  return locks.hold(
    tenantLock(tenant.id),
    'another process is at work on this tenant at this moment',
    async held => {
      const client = shards.get('default')
      // What was decided before the lock was had holds only for the tenant as it was then: one that is to be purged may just have been resumed.
      if ((await registry.findById(tenant.id))?.version !== tenant.version)
        throw tenantConflict(
          'somebody else has just changed the tenant: look at it, then call again'
        )
      const operation = await beginOperation(client, { tenant: tenant.id, kind, input, replaces })
      let state: S = { ...first, ...operation.state }
      for (const [index, { name, run }] of steps.entries()) {
        if (operation.done.includes(name)) continue
        held.assertHeld()
        try {
          const facts = await run(state) ?? {}
          state = { ...state, ...facts }
          held.assertHeld()
          await recordStep(client, operation, name, facts)
        } catch (error) {
          // The step's error is the one that matters, also where the database is gone.
          await recordError(client, operation, name, error).catch(() => {})
          throw error
        }
        progress?.({
          operation: kind,
          tenant: tenant.id,
          slug: tenant.slug,
          step: name,
          done: index + 1,
          total: steps.length
        })
      }
      await finishOperation(client, operation)
      return state
    }
  )
}
