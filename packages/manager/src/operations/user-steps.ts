import type { TenantRecord } from '@fastify-tenancy/core'

import type { LifecycleStep } from '../context/lifecycle-options.ts'
import type { OperationStep } from './run-steps.ts'

/** Returns the user's steps of an operation, named `user:<name>` in the journal. */
export function userSteps<S extends object> (
  steps: readonly LifecycleStep[],
  verb: 'create' | 'purge',
  tenant: TenantRecord
): OperationStep<S>[] {
  return steps.flatMap(step => {
    const run = step[verb]
    return run === undefined ? [] : [{
      name: `user:${step.name}`,
      run: async () => {
        await run({ tenant })
      }
    }]
  })
}
