import type { TenantScope } from '@fastify-tenancy/core'
import { channel } from 'node:diagnostics_channel'

/**
 * Published for every row that the tripwire stopped. The message is `{ tenant }`, the id of the
 * scope's tenant.
 */
const breaches = channel('fastify-tenancy.isolation-breach')

/** Publishes the event and logs the breach. Neither names the tenant whose row it was. */
export function reportBreach ({ tenant, log }: TenantScope): void {
  log.error(
    { tenant: tenant.id },
    'a row of another tenant was stopped on its way to the application: ' +
      'run `tenancy doctor` to check policies, roles and logins'
  )
  breaches.publish({ tenant: tenant.id })
}
