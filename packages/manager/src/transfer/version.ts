import type { TenantRecord } from '@fastify-tenancy/core'
import type { SqlClient } from '@fastify-tenancy/postgres/client'

import { readEntry, sharedSet } from '../migrations/ledger.ts'
import { hasOwnTables } from '../migrations/migrate-tenant.ts'

/**
 * Returns the newest migration of a tenant's tables, from the ledger in their database; null if
 * none was applied.
 */
export async function readVersion (
  client: SqlClient,
  tenant: Pick<TenantRecord, 'id' | 'isolation'>
): Promise<string | null> {
  const { rows: [row] } = await client.query<{ has: boolean }>(
    "select pg_catalog.to_regclass('tenancy.migration_ledger') is not null as has"
  )
  if (row?.has !== true) return null
  const { applied } = await readEntry(client, hasOwnTables(tenant) ? tenant.id : sharedSet)
  return applied.at(-1)?.name ?? null
}
