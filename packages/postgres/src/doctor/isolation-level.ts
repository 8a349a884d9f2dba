import pg from 'pg'

import type { SqlClient } from '../client/sql-client.ts'
import { rolesOf } from '../roles/roles.ts'
import { inCatalog, runFamily, type Finding, type FindingRow } from './finding.ts'
import { checkInput, type DoctorLogins } from './input.ts'
import { loginChecks } from './login.ts'

/** How far the application's parts are separated: see `reportLevel`. */
export type Level = 0 | 1 | 2 | 3 | 4

/** The level that the configuration reaches, and what the next level needs. */
export interface LevelReport {
  readonly level: Level
  /** Sentences for operators. Empty at level 4. */
  readonly reasons: readonly string[]
  /** Sentences about things that will be slow or break later, at any level. @default none */
  readonly warnings?: readonly string[]
  /** The doctor's findings at boot. @default none */
  readonly findings?: readonly Finding[]
}

/** Facts from the configuration. The rest is read from the server. */
export interface LevelFacts {
  readonly hasRegistryLogin: boolean
  readonly hasSystemLogin: boolean
  readonly hasOwnerLogin: boolean
  readonly isSigned: boolean
  /** Whether each tenant has a login of its own. @default false */
  readonly hasTenantLogins?: boolean
  /** Whether queries are rewritten, instead of policies that require a signature. @default false */
  readonly isRewritten?: boolean
  /**
   * Whether the options give tenants own roles. Existing roles are found in the server.
   * @default false
   */
  readonly hasTenantRoles?: boolean
  /** Whether there are global tables. @default false */
  readonly hasGlobalTables?: boolean
  /**
   * The logins for tenant roles and global tables, if they are not the application's.
   * @default none
   */
  readonly logins?: DoctorLogins
}

/** The URLs of one shard. */
export interface ShardUrls {
  readonly tenantRolesUrl?: string | undefined
  readonly globalUrl?: string | undefined
  readonly registryUrl?: string | undefined
  readonly systemUrl?: string | undefined
  readonly ownerUrl?: string | undefined
}

/** Returns the user of a URL as the driver reads it: the environment may hold the user. */
export function userOf (url: string): string {
  return new pg.Client({ connectionString: url }).user ?? ''
}

/**
 * Returns the level of what the application's login could do if an attacker wrote its SQL.
 *
 * - L0: everything.
 * - L1: only what the role of tenants' statements may do.
 * - L2: as L1, and the registry, work across tenants, global tables and migrations have own logins.
 * - L3: as L2, and the context is signed, and no login for it may set the role of a tenant.
 * - L4: as L3, and each tenant has a login.
 *
 * Checks the logins and the roles that they may set, because an injected `set_config('role', …)`
 * sets such a role.
 *
 * @param login the application's login. @default the login of the client's session
 * @param checked the rows of the checks of logins, if the caller has run them. @default run here
 */
export async function reportLevel (
  client: SqlClient,
  facts: LevelFacts,
  login?: string,
  checked?: readonly FindingRow[]
): Promise<LevelReport> {
  const { own, others, tenantRoles } = await privilegesOf(client, facts, login, checked)
  if (own.length > 0) return { level: 0, reasons: own }
  const shared = [...missingLogins(facts), ...others]
  if (shared.length > 0) return { level: 1, reasons: shared }
  const reachable = [...unsigned(facts), ...takenRoles(facts, tenantRoles)]
  if (reachable.length > 0) return { level: 2, reasons: reachable }
  if (facts.hasTenantLogins !== true) return { level: 3, reasons: ['all tenants share one login'] }
  return { level: 4, reasons: [] }
}

function missingLogins (
  { hasRegistryLogin, hasSystemLogin, hasOwnerLogin, hasGlobalTables = false, logins = {} }: LevelFacts
): string[] {
  return [
    ...(hasRegistryLogin
      ? []
      : ['tenants are looked up with the login of database.url: set database.registryUrl']),
    ...(hasSystemLogin ? [] : ['work across tenants has no login of its own: set database.systemUrl']),
    ...(hasOwnerLogin ? [] : ['migrations have no login of their own: set database.ownerUrl']),
    ...(hasGlobalTables && logins.global === undefined
      ? [
        'statements on the global tables run with a login that may become more than their role: ' +
        'set database.globalUrl'
      ]
      : [])
  ]
}

const unsignedRedis = 'where redis is used, records and values there are not signed either, ' +
  'so a writer to redis can have a host served as another tenant and change cached values: set rls.secret'

function unsigned ({ isSigned, isRewritten = false }: LevelFacts): string[] {
  if (!isSigned)
    return ['the context is not signed, so injected SQL can name another tenant: set rls.secret',
      unsignedRedis]
  return isRewritten ? ["no policy asks for the signature where isolation is 'row': use isolation 'rls'"] : []
}

function takenRoles (
  { hasTenantRoles = false, logins = {} }: LevelFacts,
  { existing, taken }: TenantRoles
): string[] {
  if (logins.tenantRoles === undefined) {
    return hasTenantRoles || existing > 0
      ? [
        'the login of database.url may become the roles of tenants, so injected SQL can take one: ' +
        'set database.tenantRolesUrl'
      ]
      : []
  }
  return taken > 0
    ? [
      `the login of database.url may still become the roles of ${taken} tenants: ` +
      'run `tenancy init` with database.tenantRolesUrl'
    ]
    : []
}

// Checks of logins that do not concern the privileges of a login.
const ignored = ['D310', 'D311', 'D312', 'D313', 'D314']

interface Privileges {
  /** Excess privileges of the application's login. */
  readonly own: readonly string[]
  /** Excess privileges of the logins for tenant roles and global tables. */
  readonly others: readonly string[]
  readonly tenantRoles: TenantRoles
}

/**
 * How many tenant roles this database has, and how many of them the application's login may set.
 */
interface TenantRoles {
  readonly existing: number
  readonly taken: number
}

async function privilegesOf (
  client: SqlClient,
  { logins = {}, isSigned }: LevelFacts,
  login: string | undefined,
  checked: readonly FindingRow[] | undefined
): Promise<Privileges> {
  const { rows: [session] } = await client.query<{ user: string; database: string }>(
    'select session_user::text as user, pg_catalog.current_database()::text as database'
  )
  if (session === undefined) throw new TypeError('the session has no user')
  const user = login ?? session.user
  const { app, shared } = rolesOf(session.database)
  const input = checkInput({
    database: session.database,
    login: user,
    logins,
    signed: isSigned,
    tables: { tenant: {}, shared: [], global: [], schema: 'public' }
  })
  return inCatalog(client, async () => {
    const rows = (checked ?? await runFamily(client, loginChecks, input)).filter(({ id }) =>
      !ignored.includes(id)
    )
    const says = (isOwn: boolean): string[] =>
      rows.filter(({ use }) => (use === 'app') === isOwn).slice(0, 20).map(({ says }) => says ?? '')
    return {
      own: says(true),
      others: says(false),
      tenantRoles: await countTenantRoles(client, user, [app, shared])
    }
  })
}

async function countTenantRoles (
  client: SqlClient,
  login: string,
  groups: readonly string[]
): Promise<TenantRoles> {
  const { rows: [row] } = await client.query<TenantRoles>(
    `
    select count(*)::int as existing, (count(*) filter (where pg_has_role(login.oid, r.oid,
      case when current_setting('server_version_num')::int >= 160000 then 'SET'
        else 'MEMBER' end)))::int as taken
    from pg_roles r join pg_roles login on login.rolname = $1
    where r.rolname ~ '^tenanth?_' and exists (
      select from pg_auth_members m join pg_roles g on g.oid = m.roleid
        where m.member = r.oid and g.rolname = any($2))`,
    [login, groups]
  )
  return row ?? { existing: 0, taken: 0 }
}
