import type { SqlClient } from '../client/sql-client.ts'
import { rolesOf } from './roles.ts'

/**
 * Returns the role for a tenant's rewritten statements. It is the application's role if `tenancy
 * init` has created it and the login may set it. Otherwise it is `none`: the login's own
 * privileges.
 */
export async function rowRole (client: SqlClient, database: string): Promise<string> {
  const { app } = rolesOf(database)
  const { rows: [row] } = await client.query<{ may: boolean }>(
    `select pg_catalog.pg_has_role(session_user, oid,
      case when current_setting('server_version_num')::int >= 160000 then 'SET' else 'MEMBER' end) as may
    from pg_catalog.pg_roles where rolname = $1`,
    [app]
  )
  return row?.may === true ? app : 'none'
}
