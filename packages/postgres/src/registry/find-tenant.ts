import type { TenantRecord } from '@fastify-tenancy/core'

import type { SqlClient } from '../client/sql-client.ts'
import { readTenantJson } from './tenant-record.ts'

// One unique index look-up each. The functions run with their owner's rights, so that a login
// which may call them need not be able to read the tables.
const texts = {
  slug: 'select tenancy.tenant_by_slug($1) as tenant',
  domain: 'select tenancy.tenant_by_domain($1) as tenant',
  id: 'select tenancy.tenant_by_id($1) as tenant'
} as const

/** Looks one tenant up by an exact key: `select tenancy.tenant_by_slug('acme')`. Slugs and domains of deleted tenants find nobody. */
export async function selectTenant (
  client: SqlClient,
  by: keyof typeof texts,
  key: string
): Promise<TenantRecord | undefined> {
  const { rows: [row] } = await client.query<{ tenant: string | null }>(texts[by], [key])
  return typeof row?.tenant === 'string' ? readTenantJson(row.tenant) : undefined
}
