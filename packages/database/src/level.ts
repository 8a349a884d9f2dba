import { rolesOf } from './setup/roles.ts'
import type { SqlClient } from './setup/sql-client.ts'

/** How far the parts of the application are kept apart: see {@link reportLevel}. */
export type Level = 0 | 1 | 2 | 3 | 4

/** The level reached, and what keeps the next one away. */
export interface LevelReport {
  readonly level: Level
  /** Sentences for operators. Empty at level 4. */
  readonly reasons: readonly string[]
  /** Sentences about what will be slow or break later, whatever the level. @default none */
  readonly warnings?: readonly string[]
}

/** What the configuration says; the rest is read from the server. */
export interface LevelFacts {
  readonly hasRegistryLogin: boolean
  readonly hasSystemLogin: boolean
  readonly hasOwnerLogin: boolean
  readonly isSigned: boolean
  /** A login of each tenant's own. @default false */
  readonly hasTenantLogins?: boolean
}

/**
 * What the application's login could do if its SQL were the attacker's:
 * L0 everything · L1 only what the role of tenants' statements may · L2 and the registry, work across tenants and migrations
 * have logins of their own · L3 and the context is signed · L4 a login per tenant.
 *
 * Looks at who the session is and at what it may become, since one injected `set_config('role', …)` becomes it.
 *
 * @param client a connection of the application's login, without a role set.
 */
export async function reportLevel (client: SqlClient, facts: LevelFacts): Promise<LevelReport> {
  const privileges = await privilegesOfLogin(client)
  if (privileges.length > 0) return { level: 0, reasons: privileges }
  const shared = [
    ...(facts.hasRegistryLogin ? [] : ['tenants are looked up with the login of database.url: give database.registryUrl']),
    ...(facts.hasSystemLogin ? [] : ['work across tenants has no login of its own: give database.systemUrl']),
    ...(facts.hasOwnerLogin ? [] : ['migrations have no login of their own: give database.ownerUrl'])
  ]
  if (shared.length > 0) return { level: 1, reasons: shared }
  if (!facts.isSigned) return { level: 2, reasons: ['the context is not signed, so injected SQL can name another tenant: give rls.secret'] }
  if (facts.hasTenantLogins !== true) return { level: 3, reasons: ['all tenants share one login'] }
  return { level: 4, reasons: [] }
}

interface LoginRow {
  readonly name: string
  readonly superuser: boolean
  readonly attributes: string[]
  readonly inherits: boolean
  readonly owns: number
  readonly roles: string[]
}

async function privilegesOfLogin (client: SqlClient): Promise<string[]> {
  const { rows: [database] } = await client.query<{ name: string }>('select pg_catalog.current_database()::text as name')
  const { app, shared } = rolesOf(database?.name ?? '')
  const { rows: [login] } = await client.query<LoginRow>(text, [app, shared])
  if (login === undefined) return ['the login of the session does not exist any more']
  // A superuser is every role and owns everything: one sentence says it.
  if (login.superuser) return [`the login '${login.name}' is a superuser`]
  return [
    ...login.attributes.map(attribute => `the login '${login.name}' has ${attribute}`),
    ...(login.inherits ? [`the login '${login.name}' inherits the privileges of the application's role, so a forgotten context is no error`] : []),
    ...(login.owns > 0 ? [`the login '${login.name}' owns tables or views of this database`] : []),
    ...login.roles.map(role => `the login '${login.name}' may become '${role}'`)
  ]
}

// It may become the application's role, and the roles of tenants, which are members of that role or of the one that reads shared tables.
// From 16 on, membership and the right to SET ROLE are two things.
const text = `
with login as (select * from pg_catalog.pg_roles where rolname = session_user),
server as (
  select case when pg_catalog.current_setting('server_version_num')::int >= 160000 then 'SET' else 'MEMBER' end as become
)
select login.rolname::text as name, login.rolsuper as superuser,
  array_remove(array[
    case when login.rolbypassrls then 'BYPASSRLS' end, case when login.rolcreaterole then 'CREATEROLE' end,
    case when login.rolreplication then 'REPLICATION' end, case when login.rolcreatedb then 'CREATEDB' end
  ], null) as attributes,
  coalesce((select pg_catalog.pg_has_role(login.oid, oid, 'USAGE') from pg_catalog.pg_roles where rolname = $1), false) as inherits,
  (select count(*)::int from pg_catalog.pg_class where relowner = login.oid and relkind in ('r', 'p', 'v', 'm', 'f')) as owns,
  array(
    select rolname::text from pg_catalog.pg_roles, server
    where not login.rolsuper and pg_roles.oid <> login.oid and pg_catalog.pg_has_role(login.oid, pg_roles.oid, server.become)
      and rolname not in ($1, $2) and not (rolname ~ '^tenanth?_' and exists (
        select from pg_catalog.pg_roles groups where groups.rolname in ($1, $2) and pg_catalog.pg_has_role(pg_roles.oid, groups.oid, 'MEMBER')))
    order by rolname limit 20
  ) as roles
from login, server`
