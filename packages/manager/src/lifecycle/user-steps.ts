import type { TenantRecord } from '@fastify-tenancy/core'

import type { Step } from './run-steps.ts'
import type { LifecycleStep } from './options.ts'

/** The user's steps of one operation, as the journal knows them: `user:<name>`. */
export function userSteps<S extends object> (
  steps: readonly LifecycleStep[],
  verb: 'create' | 'purge',
  tenant: TenantRecord
): Step<S>[] {
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
