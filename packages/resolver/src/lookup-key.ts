import { idProblem, slugProblem, type TenantChange, type TenantRecord } from '@fastify-tenancy/core'

/** By what a tenant is looked up. */
export type LookupKind = 'slug' | 'domain' | 'id'

/** Whom a request asks for. */
export interface LookupKey {
  readonly kind: LookupKind
  readonly value: string
}

/**
 * The question as a key within the process, where one map holds all kinds: no slug has a colon. What is asked for
 * need not be a name that could exist: Host `acme` asks for a domain that is spelt like a slug.
 * (In Redis, core's `lookupKey()` names the kind.)
 */
export function localKey ({ kind, value }: LookupKey): string {
  return kind === 'slug' ? value : `${kind}:${value}`
}

/** Every key under which a change may be remembered. */
export function localKeys ({ id, slugs, domains }: TenantChange): string[] {
  return [...slugs, ...domains.map(value => localKey({ kind: 'domain', value })),
    localKey({ kind: 'id', value: id })]
}

/** Whether such a tenant could exist at all. What could not is unknown without a look-up. */
export function isPlausible ({ kind, value }: LookupKey): boolean {
  if (kind === 'slug') return slugProblem(value, []) === undefined
  if (kind === 'id') return idProblem(value) === undefined
  return /^(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$/.test(value)
}

/** Whether this is the tenant that was asked for: what a store answers is not believed unseen. */
export function answers (tenant: TenantRecord, { kind, value }: LookupKey): boolean {
  if (kind === 'slug') return tenant.slug === value
  return kind === 'id' ? tenant.id === value : tenant.domains.includes(value)
}
