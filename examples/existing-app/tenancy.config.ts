import type { ManagerOptions } from '@fastify-tenancy/manager'
import { defineTenancy } from 'fastify-tenancy'
import { fileURLToPath } from 'node:url'

import { appUrl, oldUrl, ownerUrl } from './src/logins.ts'

export default defineTenancy({
  baseDomain: 'localhost',
  database: { url: appUrl, ownerUrl },
  rls: { secret: process.env.SECRET ?? 'a secret for trying it out, 32 characters' },
  // Projects have their customer in org_id already. Tasks get a column, filled along the key.
  tables: { tenant: { projects: 'org_id', tasks: 'tenant_id' }, global: ['organizations'] }
})

export const manager: Partial<ManagerOptions> = {
  migrations: { shared: fileURLToPath(new URL('migrations', import.meta.url)) },
  adoption: {
    backfill: { tasks: { parent: 'projects' } },
    legacy: { [new URL(oldUrl).username]: '2999-12-31' } // the old code's last day
  }
}
