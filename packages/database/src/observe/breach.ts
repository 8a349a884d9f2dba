import { channels, type TenantScope } from '@fastify-tenancy/core'

/** Raises the event and writes the log line of a breach. Neither says whose row it was. */
export function reportBreach ({ tenant, log }: TenantScope): void {
  log.error(
    { tenant: tenant.id },
    'a row of another tenant was on its way to the application: check policies, roles and logins with `tenancy doctor`'
  )
  channels.isolationBreach.publish({ tenant: tenant.id })
}
