import { inCatalog, runFamily, type Finding } from './doctor/finding.ts'
import { checkInput } from './doctor/input.ts'
import { loginChecks } from './doctor/login.ts'
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
}

/**
 * What the application's login could do if its SQL were the attacker's:
 * L0 everything · L1 only what the role of tenants' statements may · L2 and the registry, work across tenants and migrations
 * have logins of their own · L3 and the context is signed · L4 a login per tenant.
 *
 * Looks at who the login is and at what it may become, since one injected `set_config('role', …)` becomes it.
 *
 * @param login the application's. @default the one of the client's session
 */
export async function reportLevel (client: SqlClient, facts: LevelFacts, login?: string): Promise<LevelReport> {
  const privileges = await privilegesOf(client, login)
  if (privileges.length > 0) return { level: 0, reasons: privileges }
  const shared = [
    ...(facts.hasRegistryLogin ? [] : ['tenants are looked up with the login of database.url: give database.registryUrl']),
    ...(facts.hasSystemLogin ? [] : ['work across tenants has no login of its own: give database.systemUrl']),
    ...(facts.hasOwnerLogin ? [] : ['migrations have no login of their own: give database.ownerUrl'])
  ]
  if (shared.length > 0) return { level: 1, reasons: shared }
  if (!facts.isSigned) return { level: 2, reasons: ['the context is not signed, so injected SQL can name another tenant: give rls.secret', unsignedRedis] }
  if (facts.hasTenantLogins !== true) return { level: 3, reasons: ['all tenants share one login'] }
  return { level: 4, reasons: [] }
}

const unsignedRedis = 'where redis is used, records and values there are not signed either, so a writer to redis can have a host served as another tenant and change cached values: give rls.secret'

// Checks of the login that are no privileges of its own.
const others = ['D310', 'D311', 'D312']

async function privilegesOf (client: SqlClient, login: string | undefined): Promise<string[]> {
  const { rows: [session] } = await client.query<{ user: string, database: string }>('select session_user::text as user, pg_catalog.current_database()::text as database')
  if (session === undefined) throw new TypeError('the session has no user')
  const input = checkInput({ database: session.database, login: login ?? session.user, signed: false, tables: { tenant: {}, shared: [], global: [], schema: 'public' } })
  const rows = await inCatalog(client, () => runFamily(client, loginChecks, input))
  return rows.filter(({ id }) => !others.includes(id)).slice(0, 20).map(({ says }) => says ?? '')
}
