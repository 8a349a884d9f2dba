import { ContextMissingError } from './errors.ts'
import { idProblem } from './id.ts'
import { currentTenant } from './scope.ts'

/**
 * Names a tenant in the payload of a job: plain JSON with the id only. Slug and status are left
 * out, because they may change before the job runs.
 */
export interface TenantEnvelope {
  /** The version of this format. */
  readonly v: 1
  /** The tenant's id. */
  readonly tenant: string
}

/**
 * Returns the envelope of the given tenant, by default of the current one.
 *
 * @throws FST_TENANCY_CONTEXT_MISSING outside a request or run, if no tenant is given.
 */
export function toEnvelope (tenant: { readonly id: string } | undefined = currentTenant()): TenantEnvelope {
  if (tenant === undefined) throw new ContextMissingError()
  return Object.freeze({ v: 1, tenant: tenant.id })
}

/**
 * Returns the tenant that an envelope names, for `app.tenancy.run()`, which looks it up and checks
 * its status.
 *
 * @param envelope the result of {@link toEnvelope}, also after a round trip through JSON.
 * @throws FST_TENANCY_CONTEXT_MISSING if it is not an envelope or has an unknown version.
 */
export function fromEnvelope (envelope: unknown): { readonly id: string } {
  const { v, tenant } = (typeof envelope === 'object' && envelope !== null ? envelope : {}) as {
    v?: unknown
    tenant?: unknown
  }
  if (v !== 1 || typeof tenant !== 'string' || idProblem(tenant) !== undefined) {
    throw new ContextMissingError(
      'This job names no tenant: put the result of toEnvelope() into its payload, and pass it to ' +
        'fromEnvelope()'
    )
  }
  return Object.freeze({ id: tenant })
}
