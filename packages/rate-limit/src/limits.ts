import type { Tenant } from '@fastify-tenancy/core'

/** Requests per 60 s, or no limit. */
export type Rpm = number | 'unlimited'

/**
 * The limits of one tenant, of a plan or of the default, as a file states them. A missing field
 * comes from the next wider scope.
 */
export interface LimitFields {
  /** Requests in any 60 s, 1 to 1,000,000,000, or `'unlimited'`. */
  readonly rpm?: Rpm
  /** Requests in any one second. */
  readonly burst?: number
  /** Requests in flight in one process. */
  readonly concurrency?: number
  /** Requests in any 60 s from one client address (IPv6: one /64) to this tenant. */
  readonly perClient?: number
}

/** The content of a limits file. */
export interface LimitsDocument {
  /** For all tenants; `rpm` is 100 if it is missing. */
  readonly default?: LimitFields
  /** For one client address whose requests have no tenant; `rpm` is 300 if it is missing. */
  readonly anonymous?: Omit<LimitFields, 'perClient'>
  /** By the tenant's plan. */
  readonly plans?: Readonly<Record<string, LimitFields>>
  /** By `id:<id>` (stable), or by the current slug (after a rename the entry matches no tenant). */
  readonly tenants?: Readonly<Record<string, LimitFields>>
}

/** The limits of one tenant, merged field by field. An undefined field means no such limit. */
export interface TenantLimits {
  readonly rpm: Rpm
  readonly burst: number | undefined
  readonly concurrency: number | undefined
  readonly perClient: number | undefined
}

/** A checked limits document, in parts that can be sent between threads. */
export interface LimitsParts {
  readonly default: LimitFields
  readonly anonymous: LimitFields
  readonly plans: ReadonlyMap<string, LimitFields>
  readonly tenants: ReadonlyMap<string, LimitFields>
}

/** The limits of all tenants and of anonymous clients. */
export class Limits {
  readonly anonymous: TenantLimits
  readonly #parts: LimitsParts

  constructor (parts: LimitsParts) {
    this.#parts = parts
    this.anonymous = merge({ rpm: 300, ...parts.anonymous })
  }

  /** Returns the limits of a tenant, found by `id:<id>`, else by its current slug. */
  of (tenant: Pick<Tenant, 'id' | 'slug' | 'plan'>): TenantLimits {
    const { tenants, plans, default: base } = this.#parts
    const own = tenants.get(`id:${tenant.id}`) ?? tenants.get(tenant.slug)
    return merge({ rpm: 100, ...base, ...plans.get(tenant.plan), ...own })
  }
}

function merge ({ rpm, burst, concurrency, perClient }: LimitFields & { readonly rpm: Rpm }): TenantLimits {
  return Object.freeze({ rpm, burst, concurrency, perClient })
}
