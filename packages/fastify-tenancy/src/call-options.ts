import { isolations, tenantStatuses, type Tenant, type TenantFilter,
  type TenantStatus } from '@fastify-tenancy/core'
import { bool, checkOptions, fn, instance, oneOf, positiveInteger } from '@fastify-tenancy/core/options'
import * as v from 'valibot'

/** Options of `app.tenancy.run()`. */
export interface RunOptions {
  /**
   * Runs all of `fn` in one transaction: committed when `fn` resolves, rolled back when it rejects.
   * @default false
   */
  readonly transaction?: boolean
  /** Statuses of tenants that are served besides active ones. @default [] */
  readonly allow?: readonly TenantStatus[]
}

/** Options of `app.tenancy.forEach()`. */
export interface ForEachOptions {
  /** Selects tenants. Only active ones, unless it names statuses. @default all active tenants */
  readonly where?: TenantFilter
  /** How many run at a time. @default 4 */
  readonly concurrency?: number
  /** Ends the iteration: running work is aborted and no further work begins. */
  readonly signal?: AbortSignal
  /**
   * Called for each tenant whose work failed. If it throws, the iteration ends. @default failures
   * are collected into one AggregateError
   */
  readonly onError?: (error: unknown, tenant: Tenant) => unknown
}

/** {@link ForEachOptions} with defaults. */
interface ResolvedForEachOptions {
  readonly where: TenantFilter & { readonly status: readonly TenantStatus[] }
  readonly concurrency: number
  readonly signal?: AbortSignal | undefined
  readonly onError?: ForEachOptions['onError'] | undefined
}

const statuses = v.array(oneOf(...tenantStatuses), 'must be a list of statuses')

const run = v.strictObject({
  transaction: v.optional(bool, false),
  allow: v.optional(statuses, [])
}, 'must be an object')

const each = v.strictObject({
  where: v.optional(
    v.strictObject({
      status: v.optional(statuses, ['active']),
      plan: v.exactOptional(v.string()),
      isolation: v.exactOptional(oneOf(...isolations)),
      shard: v.exactOptional(v.string())
    }, 'must be an object'),
    {}
  ),
  concurrency: v.optional(positiveInteger, 4),
  signal: v.optional(instance<AbortSignal>('an AbortSignal', 'addEventListener', 'throwIfAborted')),
  onError: v.optional(fn<NonNullable<ForEachOptions['onError']>>())
}, 'must be an object')

/**
 * Checks the options of `run()`.
 *
 * @throws FST_TENANCY_OPTION_INVALID
 */
export function resolveRunOptions (input: unknown = {}): Required<RunOptions> {
  return checkOptions(run, input, 'the options of run()')
}

/**
 * Checks the options of `forEach()`.
 *
 * @throws FST_TENANCY_OPTION_INVALID
 */
export function resolveForEachOptions (input: unknown = {}): ResolvedForEachOptions {
  return checkOptions(each, input, 'the options of forEach()')
}
