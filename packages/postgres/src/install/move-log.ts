import { lockSetup } from '../client/lock-setup.ts'
import type { SqlClient } from '../client/sql-client.ts'
import { sqlFiles } from './sql.generated.ts'

/**
 * Creates the change log of moves in a tenant's own database, as `init` does elsewhere. Idempotent.
 *
 * ```sql
 * create schema tenancy;
 * create table tenancy.move_changes (…)
 * ```
 *
 * @param client one connection of the login that owns the tables, in a transaction.
 */
export async function ensureMoveLog (client: SqlClient): Promise<void> {
  // Without the lock, two concurrent calls would both find no log.
  await lockSetup(client)
  const { rows: [row] } = await client.query<{ there: boolean }>(
    "select pg_catalog.to_regclass('tenancy.move_changes') is not null as there"
  )
  if (row?.there === true) return
  const log = sqlFiles.find(({ name }) => name === 'move-changes')
  if (log === undefined) throw new TypeError('the log of moves has no SQL')
  await client.query(`create schema if not exists tenancy; ${log.sql}`)
}
