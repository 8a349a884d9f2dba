import { tenantRole } from '@fastify-tenancy/core/keys'

import { quoteName, sqlState, type SqlClient } from '../client/sql-client.ts'
import { SetupInvalidError } from '../errors.ts'
import { grantRole, readSessionInfo, rolesOf } from './roles.ts'

/**
 * Creates a tenant's own role if it is missing. The role inherits the privileges of one group, and
 * the application's login may set it. Two grants, however many tables there are.
 *
 * ```sql
 * create role "tenant_7f3c_1f3a0c22" nologin inherit;
 * grant "tenancy_app_1f3a0c22" to "tenant_7f3c_1f3a0c22";
 * grant "tenant_7f3c_1f3a0c22" to "app" with inherit false, set true;
 * ```
 *
 * @param group `'app'` for rows of tenant tables through their policies, `'shared'` for shared
 * tables.
 * @param login the login of `tenantRolesUrl`, or of `url`. Undefined for a superuser, who may set
 * every role without a grant.
 * @returns the role's name
 * @throws FST_TENANCY_SETUP_INVALID if the client's login may not create roles
 */
export async function ensureTenantRole (
  client: SqlClient,
  id: string,
  group: 'app' | 'shared',
  login: string | undefined
): Promise<string> {
  const session = await readSessionInfo(client)
  const role = tenantRole(id, session.database)
  try {
    const { rows: [existing] } = await client.query('select from pg_catalog.pg_roles where rolname = $1', [
      role
    ])
    if (existing === undefined) await client.query(`create role ${quoteName(role)} nologin inherit`)
    const name = rolesOf(session.database)[group]
    // INHERIT without SET: statements run as the tenant's role and cannot switch to its group.
    await client.query(
      `grant ${quoteName(name)} to ${quoteName(role)}${
        session.grantsOptions ? ' with inherit true, set false' : ''
      }`
    )
    const isSuperuser = login === session.user && session.superuser
    if (login !== undefined && !isSuperuser) await grantRole(client, session, role, login, false)
  } catch (error) {
    if (sqlState(error) !== '42501') throw error
    throw new SetupInvalidError(
      'the login of options.database.ownerUrl may not create roles for tenants: ' +
        'run `tenancy init --tenant-roles --login <url of a superuser>`',
      { cause: error }
    )
  }
  return role
}
