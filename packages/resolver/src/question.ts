import { idProblem, slugProblem, type TenantRecord } from '@fastify-tenancy/core'

/** By what a tenant is looked up. */
export type LookupKind = 'slug' | 'domain' | 'id'

/** Whom a request asks for. */
export interface Question {
  readonly kind: LookupKind
  readonly value: string
}

/**
 * The question as a key within the process. A slug has no dot, a domain has one, and neither has a colon: one map
 * holds all three. (In Redis, core's `lookupKey()` names the kind.)
 */
export function localKey ({ kind, value }: Question): string {
  return kind === 'id' ? `id:${value}` : value
}

/** Whether such a tenant could exist at all. What could not is unknown without a look-up. */
export function isPlausible ({ kind, value }: Question): boolean {
  if (kind === 'slug') return slugProblem(value, []) === undefined
  if (kind === 'id') return idProblem(value) === undefined
  return /^(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$/.test(value)
}

/** Whether this is the tenant that was asked for: what a store answers is not believed unseen. */
export function answers (tenant: TenantRecord, { kind, value }: Question): boolean {
  if (kind === 'slug') return tenant.slug === value
  return kind === 'id' ? tenant.id === value : tenant.domains.includes(value)
}
