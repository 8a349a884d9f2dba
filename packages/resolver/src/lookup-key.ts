import { idProblem, slugProblem, type TenantChange, type TenantRecord } from '@fastify-tenancy/core'

/** The property by which a tenant is looked up. */
export type LookupKind = 'slug' | 'domain' | 'id'

/** The tenant that a request asks for. */
export interface LookupKey {
  readonly kind: LookupKind
  readonly value: string
}

/**
 * Returns the key of a look-up within the process. One map holds all kinds, which works because no
 * slug has a colon. A requested name need not be possible: Host `acme` asks for a domain that is
 * spelt like a slug. (In Redis, core's `lookupKey()` adds the kind.)
 */
export function localKey ({ kind, value }: LookupKey): string {
  return kind === 'slug' ? value : `${kind}:${value}`
}

/** Returns every key under which the tenant of a change may be remembered. */
export function localKeys ({ id, slugs, domains }: TenantChange): string[] {
  return [...slugs, ...domains.map(value => localKey({ kind: 'domain', value })),
    localKey({ kind: 'id', value: id })]
}

/** Whether a tenant with this key can exist. An impossible key is unknown without a look-up. */
export function isPlausible ({ kind, value }: LookupKey): boolean {
  if (kind === 'slug') return slugProblem(value, []) === undefined
  if (kind === 'id') return idProblem(value) === undefined
  return /^(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$/.test(value)
}

/** Whether this is the requested tenant. The results of stores are checked, not trusted. */
export function answers (tenant: TenantRecord, { kind, value }: LookupKey): boolean {
  if (kind === 'slug') return tenant.slug === value
  return kind === 'id' ? tenant.id === value : tenant.domains.includes(value)
}
