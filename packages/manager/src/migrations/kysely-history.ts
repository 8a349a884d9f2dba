import { quoteName, quoteText, type SqlClient } from '@fastify-tenancy/postgres/client'

import { sharedSet } from './ledger.ts'
import type { LoadedMigration } from './read-migrations.ts'

/**
 * Copies the history of Kysely's own migrator into the ledger, with the current checksums. So a
 * database that `kysely-ctl` migrated until today continues from there. Names that are not among
 * these migrations belong to another folder and are ignored.
 *
 * ```sql
 * insert into tenancy.migration_ledger … select … from public.kysely_migration
 * ```
 *
 * @param client one connection of a login that may read that table; for other logins nothing is
 *   copied
 * @returns whether the ledger got new entries
 */
export async function adoptKyselyHistory (
  client: SqlClient,
  schema: string,
  migrations: readonly LoadedMigration[]
): Promise<boolean> {
  const history = `${quoteName(schema)}.kysely_migration`
  if (!await isReadable(client, history)) return false
  const { rowCount } = await client.query(
    `
    insert into tenancy.migration_ledger (tenant_id, name, checksum, applied_at)
    select $1, name, migration.checksum, history."timestamp"::timestamptz
    from ${history} history join unnest($2::text[], $3::text[]) migration (name, checksum) using (name)
    on conflict (tenant_id, name) do nothing`,
    [sharedSet, migrations.map(({ name }) => name), migrations.map(({ checksum }) => checksum)]
  )
  return rowCount !== null && rowCount > 0
}

async function isReadable (client: SqlClient, table: string): Promise<boolean> {
  const { rows: [row] } = await client.query<{ may: boolean | null }>(
    "select pg_catalog.has_table_privilege(pg_catalog.to_regclass($1), 'select') as may",
    [table]
  )
  return row?.may === true
}

/** Returns why nothing may run after {@link ranElsewhere} found a migration, and what to do. */
export function foreignProblem (name: string, tenant: string): string {
  const ledger = `insert into tenancy.migration_ledger (tenant_id, name, checksum, applied_at) values (${
    quoteText(tenant)
  }, ${quoteText(name)}, '…', now())`
  return `kysely-ctl has run migration '${name}' of this tenant, but the ledger has no entry for it: ` +
    `either record it as applied, as the owner's login (${ledger}; with the SHA-256 of the file), ` +
    `or let it run again (delete from kysely_migration where name = ${quoteText(name)})`
}

/**
 * Returns the first of these migrations that Kysely's own migrator has run in a tenant's tables and
 * the ledger lacks; undefined if there is none. This history is not copied into the ledger, because
 * a migration that `down` undid would then count as applied.
 */
export async function ranElsewhere (
  client: SqlClient,
  schema: string,
  pending: readonly LoadedMigration[]
): Promise<string | undefined> {
  const history = `${quoteName(schema)}.kysely_migration`
  if (!await isReadable(client, history)) return undefined
  const { rows: [first] } = await client.query<{ name: string }>(
    `select name from ${history} where name = any($1) order by name limit 1`,
    [pending.map(({ name }) => name)]
  )
  return first?.name
}
