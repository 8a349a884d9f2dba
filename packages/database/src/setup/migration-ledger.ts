import { quoteName, type SqlClient } from './sql-client.ts'
import { sqlFiles } from './sql.generated.ts'

/**
 * Makes the ledger of migrations in a tenant's own database, the same that `init` makes in every other. Runs again without harm.
 *
 * ```sql
 * create schema tenancy;
 * create table tenancy.migration_ledger (…)
 * ```
 *
 * @param client one connection of the login that owns the tables, in a transaction.
 */
export async function ensureLedger (client: SqlClient): Promise<void> {
  // Two at once would both find nothing.
  await client.query('select pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext(\'tenancy init\'))')
  const { rows: [row] } = await client.query<{ there: boolean }>('select pg_catalog.to_regclass(\'tenancy.migration_ledger\') is not null as there')
  if (row?.there === true) return
  const ledger = sqlFiles.find(({ name }) => name === 'migrations')
  if (ledger === undefined) throw new TypeError('the ledger has no SQL')
  await client.query(`create schema if not exists tenancy; ${ledger.sql}`)
}

/** Lets a tenant's login ask its own database how far its migrations have come: what `database.requireMigration` needs. */
export async function grantGate (client: SqlClient, user: string): Promise<void> {
  await client.query(`
    grant usage on schema tenancy to ${quoteName(user)};
    grant execute on function tenancy.has_migration(text, text) to ${quoteName(user)}`)
}
