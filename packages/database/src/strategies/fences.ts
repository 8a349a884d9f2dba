import { SetupInvalidError } from '../setup/errors.ts'
import type { SqlClient } from '../setup/sql-client.ts'

/**
 * Whether a database keeps fences: every one that `tenancy init` has seen.
 *
 * @throws FST_TENANCY_SETUP_INVALID where it does, and the login may not read them
 */
export async function hasFences (client: SqlClient): Promise<boolean> {
  const { rows: [row] } = await client.query<{ exists: boolean, may: boolean }>(`
    select c.oid is not null as exists, pg_catalog.has_schema_privilege(n.oid, 'usage') and pg_catalog.has_table_privilege(c.oid, 'select') as may
    from pg_catalog.pg_namespace n left join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = 'fences'
    where n.nspname = 'tenancy'`)
  if (row?.exists !== true) return false
  if (!row.may) throw new SetupInvalidError('the login in options.database.url may not read whether a tenant is locked out: run `tenancy init` with this URL')
  return true
}
