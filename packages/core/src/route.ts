import * as v from 'valibot'

import { bool, checkOptions, oneOf, timeout } from './options.ts'
import { tenantStatuses, type TenantStatus } from './tenant.ts'

/** Whether a route needs a tenant, accepts one, or ignores the host. */
export type TenancyMode = 'required' | 'optional' | 'off'

/** The value of a route's `config.tenancy`: a mode, or an object. */
export type RouteTenancy = TenancyMode | {
  /** Whether the route needs a tenant. @default 'required' */
  readonly mode?: TenancyMode
  /** Runs the whole request in one transaction. @default false */
  readonly transaction?: boolean
  /**
   * How many requests of the tenant's limit one request of this route counts as; 0 is free.
   * @default 1
   */
  readonly cost?: number
  /** Statuses of tenants that the route serves, in addition to active ones. @default ['active'] */
  readonly statuses?: readonly TenantStatus[]
  /** Whether host and claim must name the same tenant, if a claim is configured. @default true */
  readonly agreement?: boolean
  /** The maximum duration of one statement, instead of the tenant's own bound: `'5s'`. */
  readonly statementTimeout?: string
}

/** {@link RouteTenancy} with its defaults. */
export interface ResolvedRouteTenancy {
  readonly mode: TenancyMode
  readonly transaction: boolean
  readonly cost: number
  readonly statuses: readonly TenantStatus[]
  readonly agreement: boolean
  /** Milliseconds. */
  readonly statementTimeout: number | undefined
}

const costMessage = 'must be 0 or a positive integer'
const mode = oneOf('required', 'optional', 'off')

const schema = v.strictObject({
  mode: v.optional(mode, 'required'),
  transaction: v.optional(bool, false),
  cost: v.optional(v.pipe(v.number(costMessage), v.safeInteger(costMessage), v.minValue(0, costMessage)), 1),
  statuses: v.optional(
    v.pipe(
      v.array(oneOf(...tenantStatuses), 'must be a list of statuses'),
      v.minLength(1, 'must name at least one status')
    ),
    ['active']
  ),
  agreement: v.optional(bool, true),
  statementTimeout: v.optional(timeout)
}, "must be 'required', 'optional', 'off' or an object")

const defaults: ResolvedRouteTenancy = resolve({})
const modes: Record<TenancyMode, ResolvedRouteTenancy> = {
  required: defaults,
  optional: resolve({ mode: 'optional' }),
  off: resolve({ mode: 'off' })
}

/**
 * Checks a route's `config.tenancy` and fills in its defaults.
 *
 * @throws FST_TENANCY_OPTION_INVALID
 */
export function resolveRouteTenancy (input: unknown, name = 'config.tenancy'): ResolvedRouteTenancy {
  if (input === undefined) return defaults
  if (typeof input === 'string') return modes[checkOptions(mode, input, name)]
  return resolve(input, name)
}

function resolve (input: unknown, name?: string): ResolvedRouteTenancy {
  const { statementTimeout, ...rest } = checkOptions(schema, input, name)
  return Object.freeze({ ...rest, statementTimeout })
}
