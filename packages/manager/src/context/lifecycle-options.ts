import type { TenantRecord } from '@fastify-tenancy/core'
import { fn, nonEmptyString, timeout } from '@fastify-tenancy/core/options'
import type { SqlClient } from '@fastify-tenancy/postgres/client'
import * as v from 'valibot'

export interface LifecycleOptions {
  /** Resources of the application that are created and removed with a tenant. @default none */
  readonly steps?: readonly LifecycleStep[]
  /**
   * The longest wait of a purge, or of a move's switch, for transactions that began before the
   * lockout. @default '1m'
   */
  readonly wait?: string
}

/** {@link LifecycleOptions} with defaults. */
interface ResolvedLifecycleOptions {
  readonly steps: readonly LifecycleStep[]
  /** In milliseconds. */
  readonly wait: number
}

const step = v.strictObject({
  name: nonEmptyString,
  create: v.optional(fn<NonNullable<LifecycleStep['create']>>()),
  export: v.optional(fn<NonNullable<LifecycleStep['export']>>()),
  purge: v.optional(fn<NonNullable<LifecycleStep['purge']>>())
}, 'must be an object of name, create, export and purge')

/** Schema of `lifecycle`. */
export const lifecycleSchema: v.GenericSchema<unknown, ResolvedLifecycleOptions> = v.strictObject({
  steps: v.optional(
    v.pipe(
      v.array(step, 'must be a list of steps'),
      v.check(
        steps => new Set(steps.map(({ name }) => name)).size === steps.length,
        'must be steps of different names'
      )
    ),
    []
  ),
  wait: v.optional(timeout, '1m')
}, 'must be an object') as v.GenericSchema<unknown, ResolvedLifecycleOptions>

export interface LifecycleInput {
  readonly tenant: TenantRecord
}

/**
 * A resource of the application that is created and removed with a tenant: a bucket, a search
 * index, an external account. Each function must be idempotent.
 */
export interface LifecycleStep {
  /** Unique among the steps. Never rename it. */
  readonly name: string
  /** Creates the resource, before the tenant becomes active. */
  readonly create?: (input: LifecycleInput) => Promise<void>
  /** Writes the resource's files into `folder`, during an export. */
  readonly export?: (
    input: LifecycleInput & { readonly folder: string; readonly signal?: AbortSignal }
  ) => Promise<void>
  /** Removes the resource during a purge, before the tenant's rows. */
  readonly purge?: (input: LifecycleInput) => Promise<void>
}

/** Creates the tables of a tenant with its own schema or database. */
export type Provision = (
  input: { readonly tenant: TenantRecord; readonly client: SqlClient }
) => Promise<void>
