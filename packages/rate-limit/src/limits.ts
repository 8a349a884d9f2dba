import type { Tenant } from '@fastify-tenancy/core'

/** Requests in 60 s, or no limit. */
export type Rpm = number | 'unlimited'

/** The limits of one tenant, plan or of the default, as a file says them; what is not said comes from the next wider one. */
export interface LimitFields {
  /** Requests in any 60 s, 1 to 1,000,000,000, or `'unlimited'`. */
  readonly rpm?: Rpm | undefined
  /** Requests in any one second. */
  readonly burst?: number | undefined
  /** Requests in flight in one process. */
  readonly concurrency?: number | undefined
  /** Requests in any 60 s from one client address (IPv6: one /64) to this tenant. */
  readonly perClient?: number | undefined
}

/** What a limits file holds. */
export interface LimitsDocument {
  /** For all tenants; `rpm` is 100 where it is absent. */
  readonly default?: LimitFields | undefined
  /** For one client address whose requests have no tenant; `rpm` is 300 where it is absent. */
  readonly anonymous?: Omit<LimitFields, 'perClient'> | undefined
  /** By the tenant's plan. */
  readonly plans?: Readonly<Record<string, LimitFields>> | undefined
  /** By `id:<id>` (stable) or by the present slug (which may be renamed, and then names nobody). */
  readonly tenants?: Readonly<Record<string, LimitFields>> | undefined
}

/** The limits that hold for one tenant, merged field by field; undefined: no such limit. */
export interface TenantLimits {
  readonly rpm: Rpm
  readonly burst: number | undefined
  readonly concurrency: number | undefined
  readonly perClient: number | undefined
}

/** A checked limits document: who may do how much. */
export class Limits {
  readonly anonymous: TenantLimits
  readonly #default: LimitFields
  readonly #plans: ReadonlyMap<string, LimitFields>
  readonly #tenants: ReadonlyMap<string, LimitFields>

  constructor (base: LimitFields, anonymous: LimitFields, plans: ReadonlyMap<string, LimitFields>, tenants: ReadonlyMap<string, LimitFields>) {
    this.#default = base
    this.anonymous = merge({ rpm: 300, ...anonymous })
    this.#plans = plans
    this.#tenants = tenants
  }

  /** A tenant is found by `id:<id>`, else by its present slug. */
  of (tenant: Pick<Tenant, 'id' | 'slug' | 'plan'>): TenantLimits {
    const own = this.#tenants.get(`id:${tenant.id}`) ?? this.#tenants.get(tenant.slug)
    return merge({ rpm: 100, ...this.#default, ...this.#plans.get(tenant.plan), ...own })
  }
}

function merge (fields: LimitFields & { readonly rpm: Rpm | undefined }): TenantLimits {
  return Object.freeze({ rpm: fields.rpm ?? 100, burst: fields.burst, concurrency: fields.concurrency, perClient: fields.perClient })
}
