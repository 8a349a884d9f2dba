import { channels, type TenantScope } from '@fastify-tenancy/core'

/** Publishes the event and logs the breach. Neither names the tenant whose row it was. */
export function reportBreach ({ tenant, log }: TenantScope): void {
  log.error(
    { tenant: tenant.id },
    'a row of another tenant was stopped on its way to the application: ' +
      'run `tenancy doctor` to check policies, roles and logins'
  )
  channels.isolationBreach.publish({ tenant: tenant.id })
}
