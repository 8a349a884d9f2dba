import { quoteName, type SqlClient } from '@fastify-tenancy/database'

import { sharedSet } from './ledger.ts'
import type { LoadedMigration } from './read-migrations.ts'

/**
 * Takes what Kysely's own migrator has run for run, as it is now: a database that was migrated by `kysely-ctl` until today goes on
 * where that was. Names that are not among these migrations are another folder's.
 *
 * ```sql
 * insert into tenancy.migration_ledger … select … from public.kysely_migration
 * ```
 *
 * @param client one connection of a login that may read that table
 */
export async function takeOverHistory (client: SqlClient, schema: string, migrations: readonly LoadedMigration[]): Promise<void> {
  const history = `${quoteName(schema)}.kysely_migration`
  const { rows: [row] } = await client.query<{ there: boolean }>('select pg_catalog.to_regclass($1) is not null as there', [history])
  if (row?.there !== true) return
  await client.query(`
    insert into tenancy.migration_ledger (tenant_id, name, checksum, applied_at)
    select $1, name, migration.checksum, history."timestamp"::timestamptz
    from ${history} history join unnest($2::text[], $3::text[]) migration (name, checksum) using (name)
    on conflict (tenant_id, name) do nothing`, [sharedSet, migrations.map(({ name }) => name), migrations.map(({ checksum }) => checksum)])
}
