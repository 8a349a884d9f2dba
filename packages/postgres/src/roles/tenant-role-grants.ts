import { quoteName, type SqlClient } from '../client/sql-client.ts'
import type { Logins } from './logins.ts'
import type { Roles, SessionInfo } from './roles.ts'

interface TenantRole {
  readonly role: string
  /** Whether the right login may set the role already. */
  readonly isGranted: boolean
  /** Whether this session may grant it. */
  readonly isOurs: boolean
  /** Memberships of logins that should not have it. */
  readonly strays: readonly Stray[]
}

interface Stray {
  readonly user: string
  readonly grantor: string
}

/** How many roles one GRANT names. */
const chunk = 100

/**
 * Lets one login set the role of every tenant of this database, and revokes those roles from the
 * other logins. It is the login of `tenantRolesUrl`, or without it the application's. Idempotent.
 *
 * ```sql
 * grant "tenant_7f3c_1f3a0c22", … to "app_roles" with inherit false, set true;
 * revoke "tenant_7f3c_1f3a0c22" from "app" granted by "owner";
 * ```
 *
 * @returns a sentence about the roles that this login may not grant.
 */
export async function grantTenantRoles (
  client: SqlClient,
  session: SessionInfo,
  roles: Roles,
  logins: Logins
): Promise<string[]> {
  const user = (logins.tenantRoles ?? logins.app)?.user
  if (user === undefined) return []
  const found = await readTenantRoles(client, roles, user, strangersOf(logins, session, user))
  const open = found.filter(({ isGranted, strays }) => !isGranted || strays.length > 0)
  const ours = open.filter(({ isOurs }) => isOurs)
  const missing = ours.filter(({ isGranted }) => !isGranted).map(({ role }) => quoteName(role))
  const options = session.grantsOptions ? ' with inherit false, set true' : ''
  for (let from = 0; from < missing.length; from += chunk) {
    await client.query(
      `grant ${missing.slice(from, from + chunk).join(', ')} to ${quoteName(user)}${options}`
    )
  }
  for (const { role, strays } of ours) {
    for (const stray of strays) await revokeRole(client, session, role, stray)
  }
  if (ours.length === open.length) return []
  return [
    `the roles of ${open.length - ours.length} tenants were not granted to the login ${quoteName(user)}:`
    + ' run `tenancy init` as a superuser, or as the login that made them'
  ]
}

// Not the owner's login, which created the roles, and not the session's, which may be a superuser.
function strangersOf (
  { app, global, registry, system, owner }: Logins,
  session: SessionInfo,
  user: string
): string[] {
  const kept = [user, owner?.user, session.user]
  return [app, global, registry, system].flatMap(login => login === undefined ? [] : [login.user])
    .filter(name => !kept.includes(name))
}

async function revokeRole (
  client: SqlClient,
  session: SessionInfo,
  role: string,
  { user, grantor }: Stray
): Promise<void> {
  const by = session.grantsOptions ? ` granted by ${quoteName(grantor)}` : ''
  await client.query(`revoke ${quoteName(role)} from ${quoteName(user)}${by}`)
}

async function readTenantRoles (
  client: SqlClient,
  roles: Roles,
  user: string,
  strangers: readonly string[]
): Promise<readonly TenantRole[]> {
  const { rows } = await client.query<TenantRole>(
    `
    select r.rolname::text as role,
      coalesce(login.rolsuper, false) or exists (
        select from pg_catalog.pg_auth_members m where m.roleid = r.oid and m.member = login.oid
          and coalesce((pg_catalog.to_jsonb(m) ->> 'set_option')::bool, true)) as "isGranted",
      me.rolsuper or pg_catalog.pg_has_role(session_user, r.oid, 'USAGE WITH ADMIN OPTION')
        or (me.rolcreaterole and pg_catalog.current_setting('server_version_num')::int < 160000) as "isOurs",
      coalesce((
        select pg_catalog.json_agg(pg_catalog.json_build_object('user', holder.rolname, 'grantor',
          grantor.rolname))
        from pg_catalog.pg_auth_members m join pg_catalog.pg_roles holder on holder.oid = m.member
        join pg_catalog.pg_roles grantor on grantor.oid = m.grantor
        where m.roleid = r.oid and holder.rolname = any($3) and not holder.rolsuper), '[]') as strays
    from pg_catalog.pg_roles r
    join pg_catalog.pg_roles me on me.rolname = session_user
    left join pg_catalog.pg_roles login on login.rolname = $2
    where r.rolname ~ '^tenanth?_' and exists (
      select from pg_catalog.pg_auth_members m join pg_catalog.pg_roles g on g.oid = m.roleid
      where m.member = r.oid and g.rolname = any($1))
    order by r.rolname`,
    [[roles.app, roles.shared], user, strangers]
  )
  return rows
}
