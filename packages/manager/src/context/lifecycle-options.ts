import { fn, nonEmptyString, timeout, type TenantRecord } from '@fastify-tenancy/core'
import type { SqlClient } from '@fastify-tenancy/postgres/client'
import * as v from 'valibot'

export interface LifecycleOptions {
  /** Resources of the application's own that live and die with a tenant. @default none */
  readonly steps?: readonly LifecycleStep[]
  /**
   * The longest that a purge, or the switch of a move, waits for transactions that began before the tenant was locked out.
   * @default '1m'
   */
  readonly wait?: string
}

/** {@link LifecycleOptions} with defaults. */
export interface ResolvedLifecycleOptions {
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

/** `lifecycle` */
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

/** Makes the tables of a tenant that has a schema or a database of its own. */
export type Provision = (
  input: { readonly tenant: TenantRecord; readonly client: SqlClient }
) => Promise<void>
