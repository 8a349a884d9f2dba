import type { TenantScope } from '@fastify-tenancy/core'
import { channel } from 'node:diagnostics_channel'

/**
 * Told of every row that the tripwire stopped: `{ tenant }`, the id of the tenant whose work it
 * was.
 */
const breaches = channel('fastify-tenancy.isolation-breach')

/** Raises the event and writes the log line of a breach. Neither says whose row it was. */
export function reportBreach ({ tenant, log }: TenantScope): void {
  log.error(
    { tenant: tenant.id },
    'a row of another tenant was on its way to the application: check policies, roles and logins with `tenancy doctor`'
  )
  breaches.publish({ tenant: tenant.id })
}
