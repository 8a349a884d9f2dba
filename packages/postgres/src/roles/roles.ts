import { roleName } from '@fastify-tenancy/core/keys'

import { quoteName, type SqlClient } from '../client/sql-client.ts'

/** The group roles of one database: nologin, noinherit. */
export interface Roles {
  /** Owns all tables and the schema `tenancy`. */
  readonly owner: string
  /** Runs the statements of tenants: their rows of tenant tables, by policy, and shared tables. */
  readonly app: string
  /** Reads the shared tables. Roles of tenants with a schema of their own are its members. */
  readonly shared: string
  /** Owns the privileges on global tables, which no tenant's statement may use. */
  readonly global: string
  /** Work across tenants. */
  readonly system: string
  /** Reads the registry. */
  readonly registry: string
}

/** The names of a database's roles: `tenancy_app_1f3a0c22` and so on. */
export function rolesOf (database: string): Roles {
  return Object.freeze({
    owner: roleName('owner', database),
    app: roleName('app', database),
    shared: roleName('shared', database),
    global: roleName('global', database),
    system: roleName('system', database),
    registry: roleName('registry', database)
  })
}

/** Returns a SQL file with each placeholder such as `:"app"` replaced by the role's quoted name. */
export function withRoles (sql: string, roles: Roles): string {
  return sql.replace(/:"(\w+)"/g, (placeholder, role: string) => {
    if (!(role in roles)) throw new TypeError(`${placeholder} is no role`)
    return quoteName(roles[role as keyof Roles])
  })
}

/**
 * Creates the missing group roles.
 *
 * ```sql
 * create role "tenancy_app_1f3a0c22" nologin noinherit
 * ```
 */
export async function ensureRoles (client: SqlClient, roles: Roles): Promise<void> {
  const names = Object.values(roles)
  const { rows } = await client.query<{ rolname: string }>(
    'select rolname from pg_catalog.pg_roles where rolname = any($1)',
    [names]
  )
  for (const name of names) {
    if (!rows.some(({ rolname }) => rolname === name))
      await client.query(`create role ${quoteName(name)} nologin noinherit`)
  }
}

/** Facts about the session: its login, its database, and which GRANT options the server has. */
export interface SessionInfo {
  readonly user: string
  readonly database: string
  readonly superuser: boolean
  /** Whether the server is PostgreSQL 16 or newer: `grant … with inherit false, set true`. */
  readonly grantsOptions: boolean
}

export async function readSessionInfo (client: SqlClient): Promise<SessionInfo> {
  const { rows: [row] } = await client.query<
    { user: string; database: string; superuser: boolean; version: number }
  >(`
    select session_user::text as user, pg_catalog.current_database()::text as database, rolsuper as superuser,
      pg_catalog.current_setting('server_version_num')::int as version
    from pg_catalog.pg_roles where rolname = session_user`)
  if (row === undefined) throw new TypeError('the session has no user')
  return {
    user: row.user,
    database: row.database,
    superuser: row.superuser,
    grantsOptions: row.version >= 160_000
  }
}

/**
 * Grants a role to a login, with or without inheriting its privileges. Does nothing if the grant
 * exists, so that a login that may grant nothing can do the rest of the set-up.
 *
 * ```sql
 * grant "tenancy_app_1f3a0c22" to "app" with inherit false, set true
 * ```
 */
export async function grantRole (
  client: SqlClient,
  session: SessionInfo,
  role: string,
  login: string,
  inherit: boolean
): Promise<void> {
  // Before PostgreSQL 16, INHERIT is an attribute of the member role, and membership implies SET
  // ROLE. The options do not exist there, hence the `to_jsonb` look-ups.
  const { rows } = await client.query(
    `
    select from pg_catalog.pg_auth_members m
    join pg_catalog.pg_roles granted on granted.oid = m.roleid
      join pg_catalog.pg_roles holder on holder.oid = m.member
    where granted.rolname = $1 and holder.rolname = $2
      and coalesce((pg_catalog.to_jsonb(m) ->> 'inherit_option')::bool, $3) = $3
        and coalesce((pg_catalog.to_jsonb(m) ->> 'set_option')::bool, true)`,
    [role, login, inherit]
  )
  if (rows.length > 0) return
  const options = session.grantsOptions ? ` with inherit ${inherit}, set true` : ''
  await client.query(`grant ${quoteName(role)} to ${quoteName(login)}${options}`)
}
