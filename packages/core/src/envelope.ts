import { ContextMissingError } from './errors.ts'
import { idProblem } from './id.ts'
import { currentTenant } from './scope.ts'

/**
 * Names a tenant in the payload of a job: plain JSON, with the id only. A slug may be renamed and a status may change
 * before the job runs, so that neither is in it.
 */
export interface TenantEnvelope {
  /** The version of this format. */
  readonly v: 1
  /** The tenant's id. */
  readonly tenant: string
}

/**
 * The envelope of the current tenant, or of the one given.
 *
 * @throws FST_TENANCY_CONTEXT_MISSING outside a request and a run, where none is given.
 */
export function toEnvelope (tenant: { readonly id: string } | undefined = currentTenant()): TenantEnvelope {
  if (tenant === undefined) throw new ContextMissingError()
  return Object.freeze({ v: 1, tenant: tenant.id })
}

/**
 * The tenant that an envelope names, for `app.tenancy.run()`, which looks it up and checks its status again.
 *
 * @param envelope what {@link toEnvelope} gave, after any trip through JSON.
 * @throws FST_TENANCY_CONTEXT_MISSING when it is no envelope, or one of a format that this version does not know.
 */
export function fromEnvelope (envelope: unknown): { readonly id: string } {
  const { v, tenant } = (typeof envelope === 'object' && envelope !== null ? envelope : {}) as {
    v?: unknown
    tenant?: unknown
  }
  if (v !== 1 || typeof tenant !== 'string' || idProblem(tenant) !== undefined) {
    throw new ContextMissingError(
      'This job names no tenant: put what toEnvelope() returns into its payload, and give that to fromEnvelope()'
    )
  }
  return Object.freeze({ id: tenant })
}
