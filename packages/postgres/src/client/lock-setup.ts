import { Script } from './script.ts'
import type { SqlClient } from './sql-client.ts'

/**
 * Waits until no other set-up works on this database, and makes other set-ups wait until the end of
 * the transaction. No tenant can take this lock, because it is a row of `tenancy.locks`. The caller
 * must be a member of the owner role.
 */
export async function lockSetup (client: SqlClient): Promise<void> {
  // A printed script runs later, as one transaction of its own.
  if (client instanceof Script) return
  const { rows: [row] } = await client.query<{ there: boolean }>(`
    select exists (
      select from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
      where n.nspname = 'tenancy' and p.proname = 'await_lock') as there`)
  if (row?.there === true) await client.query("select tenancy.await_lock('tenancy init')")
  else await client.query(firstLock)
}

// Used before tenancy.locks exists, for two set-ups that create it at once. A tenant's SQL may hold
// this advisory lock, so the wait is bounded. After it, the second set-up gets an error and
// retries.
const firstLock = `do $$
declare
  timeout text := current_setting('lock_timeout');
begin
  perform set_config('lock_timeout', '2s', true);
  perform pg_advisory_xact_lock(hashtext('tenancy init'));
  perform set_config('lock_timeout', timeout, true);
exception when lock_not_available then null;
end $$`
