import type { TenantFilter, TenantRecord } from '@fastify-tenancy/core'

import { readTenantJson } from '../registry/tenant-record.ts'
import type { SqlClient } from '../setup/sql-client.ts'

// A page after the last id of the one before: the primary key's order, whatever is inserted meanwhile, and no open cursor.
const text = `
select tenancy.tenant_json(tenants) as tenant from tenancy.tenants
where id > $1
  and ($2::text[] is null or status = any($2)) and ($3::text is null or plan = $3)
  and ($4::text is null or isolation = $4) and ($5::text is null or shard = $5)
order by id limit $6`

/** One page of tenants by id: those after `after`, which is `''` for the first page. */
export async function listTenants (
  client: SqlClient,
  filter: TenantFilter,
  after: string,
  limit: number
): Promise<TenantRecord[]> {
  const { rows } = await client.query<{ tenant: string }>(text, [
    after,
    filter.status ?? null,
    filter.plan ?? null,
    filter.isolation ?? null,
    filter.shard ?? null,
    limit
  ])
  return rows.map(({ tenant }) => readTenantJson(tenant))
}
