import { tenantConflict, InternalTypeError } from './errors.ts'
import { idProblem } from './id.ts'
import { slugProblem } from './slug.ts'

/** The phase of a tenant's life. Only `active` tenants are served, unless a route allows others. */
export type TenantStatus = 'provisioning' | 'active' | 'suspended' | 'deleting' | 'deleted'

/** How a tenant's rows are isolated from those of other tenants. */
export type Isolation = 'rls' | 'row' | 'schema' | 'database'

/** Every {@link TenantStatus}, for option checks. */
export const tenantStatuses: readonly TenantStatus[] = Object.freeze(['provisioning', 'active', 'suspended',
  'deleting', 'deleted'])

/** Every {@link Isolation}, for option checks. */
export const isolations: readonly Isolation[] = Object.freeze(['rls', 'row', 'schema', 'database'])

/**
 * Where a tenant's data is: a shard of the configuration, and the tenant's own schema or database
 * there, if it has one.
 */
export interface Placement {
  readonly shard: string
  readonly schema?: string
  readonly database?: string
}

/**
 * One customer of the application. Deeply frozen, so that a handler cannot change a request's
 * tenant.
 */
export interface Tenant {
  /** Opaque and stable; 1 to 63 of `A-Z a-z 0-9 _ -`. A uuid unless an id was given at creation. */
  readonly id: string
  /** The subdomain label. May be renamed, so never store it as a reference. */
  readonly slug: string
  /** The display name. */
  readonly name: string
  readonly status: TenantStatus
  /** The name of the tenant's plan. @default 'free' */
  readonly plan: string
  readonly isolation: Isolation
  readonly placement: Placement
  /** Verified custom domains, lower case. */
  readonly domains: readonly string[]
  readonly settings: Readonly<Record<string, unknown>>
  readonly createdAt: Date
  readonly updatedAt: Date
}

/** A tenant as a registry stores it. `version` counts its changes, for optimistic locking. */
export interface TenantRecord extends Tenant {
  /** 1 after creation, increased by 1 with each update. */
  readonly version: number
}

/** The fields of a new tenant: an id and a slug; the others have defaults. */
export type TenantInput = Pick<Tenant, 'id' | 'slug'> & Partial<Omit<TenantRecord, 'id' | 'slug'>>

/** A reference to a tenant. */
export type TenantRef = { readonly id: string } | { readonly slug: string }

/**
 * Returns the frozen record of a tenant. Defaults: `name` the slug, `status` `'active'`, `plan`
 * `'free'`, `isolation` `'rls'`, `placement` `{ shard: 'default' }`, no domains, no settings, both
 * dates now, `version` 1.
 *
 * @throws FST_TENANCY_TENANT_CONFLICT when the id or slug breaks its rule.
 */
export function toTenant (input: TenantInput): TenantRecord {
  const problem = idProblem(input.id) ?? slugProblem(input.slug, [])
  if (problem !== undefined) throw tenantConflict(problem)
  const now = new Date()
  return deepFreeze({
    id: input.id,
    slug: input.slug,
    name: input.name ?? input.slug,
    status: input.status ?? 'active',
    plan: input.plan ?? 'free',
    isolation: input.isolation ?? 'rls',
    placement: { ...(input.placement ?? { shard: 'default' }) },
    domains: [...(input.domains ?? [])],
    settings: structuredClone(input.settings ?? {}),
    createdAt: new FrozenDate(input.createdAt ?? now),
    updatedAt: new FrozenDate(input.updatedAt ?? now),
    version: input.version ?? 1
  })
}

function deepFreeze<T extends object> (value: T): T {
  for (const inner of Object.values(value)) {
    if (typeof inner === 'object' && inner !== null) deepFreeze(inner)
  }
  return Object.freeze(value)
}

/**
 * A date whose setters throw. Object.freeze() alone does not prevent them, because they write an
 * internal slot.
 */
class FrozenDate extends Date {}
for (const name of Object.getOwnPropertyNames(Date.prototype)) {
  if (name.startsWith('set')) Object.defineProperty(FrozenDate.prototype, name, { value: refuseChange })
}

function refuseChange (): never {
  throw new InternalTypeError('a tenant is frozen: change it through its registry or the manager')
}
