import type { SqlClient } from '../setup/sql-client.ts'

/** How many roles of tenants one login should be able to become at most: SET ROLE then costs 3 ms in each new backend of PostgreSQL 15, and grows. */
export const maxTenantRoles = 500

/** How many roles of tenants the login of the session may become. */
export async function countTenantRoles (client: SqlClient): Promise<number> {
  const { rows: [row] } = await client.query<{ count: number }>(`
    select count(*)::int as count from pg_catalog.pg_auth_members
    join pg_catalog.pg_roles granted on granted.oid = roleid
    join pg_catalog.pg_roles holder on holder.oid = member
    where holder.rolname = session_user and granted.rolname ~ '^tenanth?_'`)
  return row?.count ?? 0
}
