import type { TenantRecord } from '@fastify-tenancy/core'

import type { SqlClient } from '../client/sql-client.ts'
import { readRowVersion, tenantValues, type RowVersion, type VersionRow } from './insert-tenant.ts'

// The version in the WHERE clause decides between two writers: the second waits for the first,
// checks again and finds no row.
// Unproved claims of domains stay. A proved domain that is not in the list is deleted.
const text = `
with tenant as (
  update tenancy.tenants set slug = $2, name = $3, status = $4, plan = $5, isolation = $6,
    shard = $7, schema_name = $8, database_name = $9, settings = $10
  where id = $1 and version = $12
  returning id, version, created_at, updated_at
), gone as (
  delete from tenancy.domains using tenant
  where tenant_id = tenant.id and verified_at is not null and domain <> all($11::text[])
), kept as (
  insert into tenancy.domains (tenant_id, domain, verified_at)
  select tenant.id, domain, now() from tenant, unnest($11::text[]) domain
  on conflict (tenant_id, domain) do update set verified_at = excluded.verified_at
    where domains.verified_at is null
)
select version, to_json(created_at) #>> '{}' as created, to_json(updated_at) #>> '{}' as updated from tenant`

/** Replaces version `expected` of a tenant. Returns undefined if there is no such version. */
export async function updateTenantRow (
  client: SqlClient,
  tenant: TenantRecord,
  expected: number
): Promise<RowVersion | undefined> {
  const { rows: [row] } = await client.query<VersionRow>(text, [...tenantValues(tenant), expected])
  return row && readRowVersion(row)
}
