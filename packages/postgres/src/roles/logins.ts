import { withholds } from '../client/script.ts'
import { quoteName, quoteText, type SqlClient } from '../client/sql-client.ts'
import { passwordVerifier } from './password.ts'
import { grantRole, type Roles, type SessionInfo } from './roles.ts'

/** A login as its URL names it. */
export interface Login {
  readonly user: string
  /**
   * Used only to create the login. Without a password the server must authenticate it in another
   * way.
   */
  readonly password?: string
}

/** The logins of one database. If one is missing, the application's login takes its place. */
export interface Logins {
  readonly app?: Login
  /** May become the roles of tenants. */
  readonly tenantRoles?: Login
  /** For the global tables. Without it, the system's login may set the global role too. */
  readonly global?: Login
  readonly registry?: Login
  readonly system?: Login
  readonly owner?: Login
}

/**
 * The groups that each login may SET ROLE to. Tenant roles are granted singly: `grantTenantRoles`.
 */
const groups = {
  app: ['app'],
  tenantRoles: [],
  global: ['global'],
  registry: ['registry'],
  system: ['system'],
  owner: ['owner']
} as const

// Whether a login inherits its groups' privileges. The application's login has no privileges until
// it sets role tenancy_app, so a missing context is "permission denied".
const inherits = {
  app: false,
  tenantRoles: false,
  global: false,
  registry: true,
  system: false,
  owner: true
} as const

/**
 * Creates missing logins, grants each login exactly its own groups, and revokes our other groups.
 * Leaves the session's login and superusers unchanged, because in development one login serves for
 * everything.
 *
 * ```sql
 * create role "app" login noinherit password 'SCRAM-SHA-256$…'
 * grant "tenancy_app_1f3a0c22" to "app" with inherit false, set true
 * revoke "tenancy_system_1f3a0c22" from "app"
 * ```
 */
export async function ensureLogins (
  client: SqlClient,
  session: SessionInfo,
  roles: Roles,
  logins: Logins
): Promise<void> {
  for (const [user, uses] of usesByUser(logins)) {
    const password = uses.map(use => logins[use]?.password).find(input => input !== undefined && input !== '')
    const isPrivileged = await ensureLogin(
      client,
      { user, ...(password !== undefined && { password }) },
      uses.every(use => inherits[use])
    )
    if (isPrivileged) continue
    const wanted = uses.flatMap(use =>
      groupsOf(use, logins).map(group => ({ role: roles[group], isInherited: inherits[use] }))
    )
    const granted = new Set(wanted.map(({ role }) => role))
    for (const { role, isInherited } of wanted) await grantRole(client, session, role, user, isInherited)
    // The owner's login may grant these to tenant roles. Revoking them would revoke those grants
    // too.
    if (uses.includes('owner')) granted.add(roles.app).add(roles.shared)
    await revokeOthers(client, session, Object.values(roles).filter(role => !granted.has(role)), user)
    await grantLookups(
      client,
      user,
      uses.includes('registry') || (uses.includes('app') && logins.registry === undefined)
    )
    if (uses.includes('app') || uses.includes('tenantRoles')) await grantContext(client, user)
  }
  if (logins.registry !== undefined) await closeLookups(client, roles, logins.registry.user)
}

type Use = keyof typeof groups

function groupsOf (use: Use, logins: Logins): readonly (keyof Roles)[] {
  return use === 'system' && logins.global === undefined ? ['system', 'global'] : groups[use]
}

function usesByUser (logins: Logins): Map<string, Use[]> {
  const users = new Map<string, Use[]>()
  for (const use of Object.keys(groups) as Use[]) {
    const login = logins[use]
    if (login !== undefined) users.set(login.user, [...users.get(login.user) ?? [], use])
  }
  return users
}

/** Creates a login if it is missing. @returns whether the login is a superuser */
export async function ensureLogin (
  client: SqlClient,
  { user, password }: Login,
  isInheriting = false
): Promise<boolean> {
  const { rows: [existing] } = await client.query<{ rolsuper: boolean }>(
    'select rolsuper from pg_catalog.pg_roles where rolname = $1',
    [user]
  )
  if (existing !== undefined) return existing.rolsuper
  const { rows: [server] } = await client.query<{ iterations: number | null }>(
    "select pg_catalog.current_setting('scram_iterations', true)::int as iterations"
  )
  const inherit = isInheriting ? 'inherit' : 'noinherit'
  const isSent = password !== undefined &&
    !withholds(
      client,
      `the login ${quoteName(user)} gets no password here: set its password with \\password`
    )
  await client.query(
    `create role ${quoteName(user)} login ${inherit}${
      isSent ? ` password ${quoteText(passwordVerifier(password, server?.iterations ?? undefined))}` : ''
    }`
  )
  return false
}

/**
 * Lets the owner's login create tenant roles. Up to PostgreSQL 15, CREATEROLE may grant every role
 * that is not a superuser.
 *
 * ```sql
 * alter role "owner" createrole;
 * grant "tenancy_app_1f3a0c22", "tenancy_shared_1f3a0c22" to "owner"
 *   with admin true, inherit false, set false;
 * ```
 */
export async function allowTenantRoles (
  client: SqlClient,
  session: SessionInfo,
  roles: Roles,
  user: string | undefined
): Promise<void> {
  if (user === undefined || user === session.user) return
  const { rows: [login] } = await client.query<{ rolsuper: boolean }>(
    'select rolsuper from pg_catalog.pg_roles where rolname = $1',
    [user]
  )
  if (login?.rolsuper !== false) return
  await client.query(`alter role ${quoteName(user)} createrole`)
  if (session.grantsOptions)
    await client.query(
      `grant ${quoteName(roles.app)}, ${quoteName(roles.shared)} to ${
        quoteName(user)
      } with admin true, inherit false, set false`
    )
}

async function revokeOthers (
  client: SqlClient,
  session: SessionInfo,
  others: readonly string[],
  user: string
): Promise<void> {
  // The session's own login must stay a member of the owner, otherwise it could not finish.
  if (user === session.user) return
  const { rows } = await client.query<{ role: string }>(
    `
    select granted.rolname as role from pg_catalog.pg_auth_members
    join pg_catalog.pg_roles granted on granted.oid = roleid
    join pg_catalog.pg_roles holder on holder.oid = member
    where holder.rolname = $1 and granted.rolname = any($2)`,
    [user, others]
  )
  for (const { role } of rows) await client.query(`revoke ${quoteName(role)} from ${quoteName(user)}`)
}

const lookups = 'tenancy.tenant_by_slug(text), tenancy.tenant_by_domain(text), tenancy.tenant_by_id(text), ' +
  'tenancy.changes_of(text[])'

// Granted to the login, not to its group: tenants' statements run as that group and must not read
// the registry.
async function grantLookups (client: SqlClient, user: string, may: boolean): Promise<void> {
  if (may) {
    await client.query(
      `grant usage on schema tenancy to ${quoteName(user)}; grant execute on function ${lookups} to ${
        quoteName(user)
      }`
    )
  } else {
    await client.query(`revoke execute on function ${lookups} from ${quoteName(user)}`)
  }
}

// Also for logins of an earlier configuration that this configuration no longer names.
async function closeLookups (client: SqlClient, roles: Roles, registry: string): Promise<void> {
  const { rows } = await client.query<{ user: string }>(
    `
    select distinct holder.rolname::text as user
    from pg_catalog.pg_proc p cross join lateral pg_catalog.aclexplode(p.proacl) a
      join pg_catalog.pg_roles holder on holder.oid = a.grantee
    where p.pronamespace = pg_catalog.to_regnamespace('tenancy')::oid and p.proname = any($1)
      and a.grantee <> p.proowner
      and holder.rolname <> all($2)`,
    [['tenant_by_slug', 'tenant_by_domain', 'tenant_by_id', 'changes_of'], [roles.registry, roles.owner,
      registry]]
  )
  for (const { user } of rows)
    await client.query(`revoke execute on function ${lookups} from ${quoteName(user)}`)
}

// The login reads a statement's context and the tenant's migration state before it sets the role.
// It reads the installation's id at boot.
async function grantContext (client: SqlClient, user: string): Promise<void> {
  await client.query(`
    grant usage on schema tenancy to ${quoteName(user)};
    grant execute on function tenancy.current_lockout_version(), tenancy.current_catalog_epoch(),
      tenancy.current_versions(),
      tenancy.check_lockout(text, text, text), tenancy.has_migration(text, text), tenancy.note_signing(text),
      tenancy.installation() to ${quoteName(user)}`)
}
