import pg from 'pg'

import type { SqlClient } from '../client/sql-client.ts'
import { rolesOf } from '../roles/roles.ts'
import { inCatalog, runFamily, type Finding } from './finding.ts'
import { checkInput, type DoctorLogins } from './input.ts'
import { loginChecks } from './login.ts'

/** How far the parts of the application are kept apart: see {@link reportLevel}. */
export type Level = 0 | 1 | 2 | 3 | 4

/** The level reached, and what keeps the next one away. */
export interface LevelReport {
  readonly level: Level
  /** Sentences for operators. Empty at level 4. */
  readonly reasons: readonly string[]
  /** Sentences about what will be slow or break later, whatever the level. @default none */
  readonly warnings?: readonly string[]
  /** What the doctor found at the boot. @default none */
  readonly findings?: readonly Finding[]
}

/** What the configuration says; the rest is read from the server. */
export interface LevelFacts {
  readonly hasRegistryLogin: boolean
  readonly hasSystemLogin: boolean
  readonly hasOwnerLogin: boolean
  readonly isSigned: boolean
  /** A login of each tenant's own. @default false */
  readonly hasTenantLogins?: boolean
  /** Whether queries are rewritten instead of policies asking for a signature. @default false */
  readonly isRewritten?: boolean
  /** Whether the options give tenants roles of their own. Those that exist are found in the server. @default false */
  readonly hasTenantRoles?: boolean
  /** Whether there are global tables. @default false */
  readonly hasGlobalTables?: boolean
  /** The logins for tenants' roles and for the global tables, where they are not the application's. @default none */
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
 * What the application's login could do if its SQL were the attacker's: L0 everything · L1 only
 * what the role of tenants' statements may · L2 and the registry, work across tenants, the global
 * tables and migrations have logins of their own · L3 and the context is signed, and no login for
 * it may become the role of a tenant · L4 a login per tenant.
 *
 * Looks at who the logins are and at what they may become, since one injected `set_config('role',
 * …)` becomes it.
 *
 * @param login the application's. @default the one of the client's session
 */
export async function reportLevel (
  client: SqlClient,
  facts: LevelFacts,
  login?: string
): Promise<LevelReport> {
  const { own, others, tenantRoles } = await privilegesOf(client, facts, login)
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
      : ['tenants are looked up with the login of database.url: give database.registryUrl']),
    ...(hasSystemLogin ? [] : ['work across tenants has no login of its own: give database.systemUrl']),
    ...(hasOwnerLogin ? [] : ['migrations have no login of their own: give database.ownerUrl']),
    ...(hasGlobalTables && logins.global === undefined
      ? [
        'statements on the global tables run with a login that may become more than their role: give database.globalUrl'
      ]
      : [])
  ]
}

const unsignedRedis =
  'where redis is used, records and values there are not signed either, so a writer to redis can have a host served as another tenant and change cached values: give rls.secret'

function unsigned ({ isSigned, isRewritten = false }: LevelFacts): string[] {
  if (!isSigned)
    return ['the context is not signed, so injected SQL can name another tenant: give rls.secret',
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
        'the login of database.url may become the roles of tenants, so injected SQL can take one: give database.tenantRolesUrl'
      ]
      : []
  }
  return taken > 0
    ? [
      `the login of database.url may still become the roles of ${taken} tenants: run \`tenancy init\` with database.tenantRolesUrl`
    ]
    : []
}

// Checks of the logins that are no privileges of their own.
const ignored = ['D310', 'D311', 'D312', 'D313', 'D314']

interface Privileges {
  /** Of the application's login. */
  readonly own: readonly string[]
  /** Of the logins for tenants' roles and for the global tables. */
  readonly others: readonly string[]
  readonly tenantRoles: TenantRoles
}

/** How many roles of tenants this database has, and how many of them the application's login may become. */
interface TenantRoles {
  readonly existing: number
  readonly taken: number
}

async function privilegesOf (
  client: SqlClient,
  { logins = {}, isSigned }: LevelFacts,
  login: string | undefined
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
    const rows = (await runFamily(client, loginChecks, input)).filter(({ id }) => !ignored.includes(id))
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
      case when current_setting('server_version_num')::int >= 160000 then 'SET' else 'MEMBER' end)))::int as taken
    from pg_roles r join pg_roles login on login.rolname = $1
    where r.rolname ~ '^tenanth?_' and exists (
      select from pg_auth_members m join pg_roles g on g.oid = m.roleid where m.member = r.oid and g.rolname = any($2))`,
    [login, groups]
  )
  return row ?? { existing: 0, taken: 0 }
}
