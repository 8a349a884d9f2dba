import { bool, checkOptions, fn, instance, isolations, oneOf, positiveInteger, tenantStatuses, type Tenant,
  type TenantFilter, type TenantStatus } from '@fastify-tenancy/core'
import * as v from 'valibot'

/** Options of `app.tenancy.run()`. */
export interface RunOptions {
  /** Makes the whole run one transaction: committed when `fn` resolves, rolled back when it rejects. @default false */
  readonly transaction?: boolean
  /** Tenants of which statuses are served besides active ones. @default [] */
  readonly allow?: readonly TenantStatus[]
}

/** Options of `app.tenancy.forEach()`. */
export interface ForEachOptions {
  /** Which tenants. Only active ones, unless it names statuses. @default all active tenants */
  readonly where?: TenantFilter
  /** How many at a time. @default 4 */
  readonly concurrency?: number
  /** Ends it: what is under way is cut short and nothing more is begun. */
  readonly signal?: AbortSignal
  /** Told of each tenant whose work failed; what it throws ends everything. @default failures are collected into one AggregateError */
  readonly onError?: (error: unknown, tenant: Tenant) => unknown
}

/** {@link ForEachOptions} with defaults. */
export interface ResolvedForEachOptions {
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

/** @throws FST_TENANCY_OPTION_INVALID */
export function resolveRunOptions (input: unknown = {}): Required<RunOptions> {
  return checkOptions(run, input, 'the options of run()')
}

/** @throws FST_TENANCY_OPTION_INVALID */
export function resolveForEachOptions (input: unknown = {}): ResolvedForEachOptions {
  return checkOptions(each, input, 'the options of forEach()')
}
