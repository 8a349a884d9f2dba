import type { SqlClient } from '../client/sql-client.ts'
import { rolesOf } from './roles.ts'

/**
 * The role of a rewritten tenant's statements: the application's, where `tenancy init` has made it and the login
 * may become it; else `none`, which leaves them the login's own privileges.
 */
export async function rowRole (client: SqlClient, database: string): Promise<string> {
  const { app } = rolesOf(database)
  const { rows: [row] } = await client.query<{ may: boolean }>(
    `select pg_catalog.pg_has_role(session_user, oid, case when current_setting('server_version_num')::int >= 160000 then 'SET' else 'MEMBER' end) as may
    from pg_catalog.pg_roles where rolname = $1`,
    [app]
  )
  return row?.may === true ? app : 'none'
}
