import type { TenantRecord } from '@fastify-tenancy/core'
import { tenantConflict } from '@fastify-tenancy/core/errors'

import type { ManagerContext } from '../context/context.ts'
import { tenantLock } from '../context/locks.ts'
import { beginOperation, finishOperation, recordError, recordStep, type OperationKind } from './journal.ts'

/**
 * A step of an operation. It must be idempotent, because a process can die between the step and its
 * journal entry.
 */
export interface OperationStep<S extends object, Name extends string = string> {
  /**
   * Unique within the operation. Never rename a step, because a later version may resume the
   * operation.
   */
  readonly name: Name
  /**
   * @returns small results that later steps need, serializable as JSON. They must not contain
   *   secrets.
   */
  readonly run: (state: S) => Promise<Partial<S> | void>
}

interface OperationPlan<S extends object> {
  /**
   * The record for which the steps were planned. The operation is refused if the record changed
   * before the lock was acquired.
   */
  readonly tenant: TenantRecord
  readonly kind: OperationKind
  /**
   * Shown in the journal; a resumed operation uses the input of its current caller. It must not
   * contain secrets.
   */
  readonly input?: object
  /** State for the first step. Recorded results override it. */
  readonly state: S
  readonly steps: readonly OperationStep<S>[]
  /** Kinds of unfinished operations that this one ends. */
  readonly replaces?: readonly OperationKind[]
}

/**
 * Runs the unfinished steps of an operation under the tenant's lock, and records each in its own
 * transaction. After a crash, the same call resumes the operation.
 *
 * @throws FST_TENANCY_TENANT_CONFLICT if another process holds the lock, the record was changed
 *   since, or an operation of another kind is not finished
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
      // Decisions made before the lock was acquired hold only for that version of the record. A
      // tenant that is to be purged may just have been resumed.
      if ((await registry.findById(tenant.id))?.version !== tenant.version)
        throw tenantConflict(
          'the tenant was changed meanwhile: check its status, then call again'
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
          // The step's error is thrown even if recording it fails, for example because the database
          // is unreachable.
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
