import type { TenantRecord } from '@fastify-tenancy/core'

import type { Step } from './run-steps.ts'

/**
 * A resource of the application's own that lives and dies with a tenant: a bucket, a search index, an account elsewhere.
 * Each function may be called again for what it has done already.
 */
export interface LifecycleStep {
  /** Unique among the steps, and never changed. */
  readonly name: string
  /** Makes it, before the tenant becomes active. */
  readonly create?: (input: LifecycleInput) => Promise<void>
  /** Writes its files into `folder`, when the tenant is exported. */
  readonly export?: (
    input: LifecycleInput & { readonly folder: string; readonly signal?: AbortSignal }
  ) => Promise<void>
  /** Removes it, when the tenant is purged, before its rows. */
  readonly purge?: (input: LifecycleInput) => Promise<void>
}

export interface LifecycleInput {
  readonly tenant: TenantRecord
}

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
