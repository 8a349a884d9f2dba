import type { TenantRecord } from '@fastify-tenancy/core'

import type { SqlClient } from '../client/sql-client.ts'
import { readTenantJson } from './tenant-record.ts'

// One unique index look-up each. The functions are SECURITY DEFINER, so a login that may call them
// needs no privilege on the tables.
const texts = {
  slug: 'select tenancy.tenant_by_slug($1) as tenant',
  domain: 'select tenancy.tenant_by_domain($1) as tenant',
  id: 'select tenancy.tenant_by_id($1) as tenant'
} as const

/**
 * Returns one tenant by an exact key: `select tenancy.tenant_by_slug('acme')`. Undefined for slugs
 * and domains of deleted tenants.
 */
export async function selectTenant (
  client: SqlClient,
  by: keyof typeof texts,
  key: string
): Promise<TenantRecord | undefined> {
  const { rows: [row] } = await client.query<{ tenant: string | null }>(texts[by], [key])
  return typeof row?.tenant === 'string' ? readTenantJson(row.tenant) : undefined
}
