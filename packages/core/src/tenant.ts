import { tenantConflict, InternalTypeError } from './errors.ts'
import { idProblem } from './id.ts'
import { slugProblem } from './slug.ts'

/** Where a tenant is in its life. Only `active` tenants are served, unless a route allows others. */
export type TenantStatus = 'provisioning' | 'active' | 'suspended' | 'deleting' | 'deleted'

/** How a tenant's rows are kept apart from the others'. */
export type Isolation = 'rls' | 'row' | 'schema' | 'database'

/** Every {@link TenantStatus}, for option checks. */
export const tenantStatuses: readonly TenantStatus[] = Object.freeze(['provisioning', 'active', 'suspended',
  'deleting', 'deleted'])

/** Every {@link Isolation}, for option checks. */
export const isolations: readonly Isolation[] = Object.freeze(['rls', 'row', 'schema', 'database'])

/** Where a tenant's data is: a shard of the configuration, and there a schema or a database where it has its own. */
export interface Placement {
  readonly shard: string
  readonly schema?: string
  readonly database?: string
}

/** One customer of the application. Frozen to its last property: a handler cannot change whom a request belongs to. */
export interface Tenant {
  /** Opaque and stable; 1 to 63 of `A-Z a-z 0-9 _ -`. A uuid unless given when the tenant was created. */
  readonly id: string
  /** The subdomain label. May be renamed, so never store it as a reference. */
  readonly slug: string
  /** The name for people. */
  readonly name: string
  readonly status: TenantStatus
  /** @default 'free' */
  readonly plan: string
  readonly isolation: Isolation
  readonly placement: Placement
  /** Verified custom domains, lower case. */
  readonly domains: readonly string[]
  readonly settings: Readonly<Record<string, unknown>>
  readonly createdAt: Date
  readonly updatedAt: Date
}

/** A tenant as a registry keeps it: `version` counts its changes, so that a writer can tell that it read the newest. */
export interface TenantRecord extends Tenant {
  /** 1 when created, one more with each update. */
  readonly version: number
}

/** What a tenant is made of: an id and a slug; the rest has defaults. */
export type TenantInput = Pick<Tenant, 'id' | 'slug'> & Partial<Omit<TenantRecord, 'id' | 'slug'>>

/** How code names a tenant. */
export type TenantRef = { readonly id: string } | { readonly slug: string }

/**
 * Makes the frozen record of a tenant, with defaults for what is not given:
 * `name` the slug, `status` `'active'`, `plan` `'free'`, `isolation` `'rls'`,
 * `placement` `{ shard: 'default' }`, no domains, no settings, both dates now, `version` 1.
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

/** A date whose setters throw: Object.freeze() alone does not stop them, they write an internal slot. */
class FrozenDate extends Date {}
for (const name of Object.getOwnPropertyNames(Date.prototype)) {
  if (name.startsWith('set')) Object.defineProperty(FrozenDate.prototype, name, { value: refuseChange })
}

function refuseChange (): never {
  throw new InternalTypeError('a tenant is frozen: change it through its registry or the manager')
}
