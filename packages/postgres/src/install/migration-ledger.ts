import { lockSetup } from '../client/lock-setup.ts'
import { quoteName, type SqlClient } from '../client/sql-client.ts'
import { sqlFiles } from './sql.generated.ts'

/**
 * Creates the migration ledger in a tenant's own database, as `init` does elsewhere. Idempotent.
 *
 * ```sql
 * create schema tenancy;
 * create table tenancy.migration_ledger (…)
 * ```
 *
 * @param client one connection of the login that owns the tables, in a transaction.
 */
export async function ensureLedger (client: SqlClient): Promise<void> {
  // Without the lock, two concurrent calls would both find no ledger.
  await lockSetup(client)
  const { rows: [row] } = await client.query<{ ledger: boolean; locks: boolean; names: boolean }>(`
    select pg_catalog.to_regclass('tenancy.migration_ledger') is not null as ledger,
      pg_catalog.to_regclass('tenancy.locks') is not null as locks,
      pg_catalog.to_regprocedure('tenancy.acquire_lock(text, bigint)') is not null as names`)
  if (row?.ledger !== true) await client.query(`create schema if not exists tenancy; ${sqlOf('migrations')}`)
  if (row?.locks !== true) await client.query(sqlOf('locks'))
  if (row?.names !== true) await client.query(sqlOf('lock-names'))
}

function sqlOf (file: string): string {
  const found = sqlFiles.find(({ name }) => name === file)
  if (found === undefined) throw new TypeError(`there is no SQL file '${file}'`)
  return found.sql
}

/**
 * Lets a tenant's login query its own database's migration state, for `database.requireMigration`.
 */
export async function grantGate (client: SqlClient, user: string): Promise<void> {
  await client.query(`
    grant usage on schema tenancy to ${quoteName(user)};
    grant execute on function tenancy.has_migration(text, text) to ${quoteName(user)}`)
}
