import type { TenantRecord } from '@fastify-tenancy/core'

import type { SqlClient } from '../client/sql-client.ts'

// One statement, so it is atomic without a transaction. The trigger hold_names checks id and slug.
// Dates come back as JSON text, so that no type parser of the caller's driver changes them.
const text = `
with tenant as (
  insert into tenancy.tenants (id, slug, name, status, plan, isolation, shard, schema_name,
    database_name, settings)
  values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
  returning id, version, created_at, updated_at
), domain as (
  insert into tenancy.domains (tenant_id, domain, verified_at)
  select tenant.id, domain, now() from tenant, unnest($11::text[]) domain
)
select version, to_json(created_at) #>> '{}' as created, to_json(updated_at) #>> '{}' as updated from tenant`

/** The values that the database sets when a tenant is written. */
export interface RowVersion {
  readonly version: number
  readonly createdAt: Date
  readonly updatedAt: Date
}

/** Inserts a tenant with its verified domains. Rejects with the database's own error. */
export async function insertTenant (
  client: SqlClient,
  tenant: TenantRecord
): Promise<RowVersion | undefined> {
  const { rows: [row] } = await client.query<VersionRow>(text, tenantValues(tenant))
  return row && readRowVersion(row)
}

export interface VersionRow {
  version: number
  created: string
  updated: string
}

export function readRowVersion ({ version, created, updated }: VersionRow): RowVersion {
  return { version, createdAt: new Date(created), updatedAt: new Date(updated) }
}

/** Returns a tenant as parameters $1 to $11. */
export function tenantValues (tenant: TenantRecord): unknown[] {
  return [
    tenant.id,
    tenant.slug,
    tenant.name,
    tenant.status,
    tenant.plan,
    tenant.isolation,
    tenant.placement.shard,
    tenant.placement.schema ?? null,
    tenant.placement.database ?? null,
    JSON.stringify(tenant.settings),
    tenant.domains
  ]
}
