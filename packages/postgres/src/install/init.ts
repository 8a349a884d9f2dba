import { lockSetup } from '../client/lock-setup.ts'
import { retried } from '../client/retried.ts'
import { inTransaction, quoteName, sqlState, type SqlClient } from '../client/sql-client.ts'
import { SetupInvalidError } from '../errors.ts'
import { grantHardened, harden } from '../roles/harden.ts'
import { allowTenantRoles, ensureLogins, type Logins } from '../roles/logins.ts'
import { ensureRoles, grantRole, readSessionInfo, rolesOf, withRoles, type Roles,
  type SessionInfo } from '../roles/roles.ts'
import { grantTenantRoles } from '../roles/tenant-role-grants.ts'
import { ensureCatalogEpoch } from './catalog-epoch.ts'
import { ensureInstallation } from './installation.ts'
import { rebind } from './rebind.ts'
import { sqlFiles } from './sql.generated.ts'
import { syncKeys } from './sync-keys.ts'

export interface InitOptions {
  /** Logins to create if they are missing, and to grant their groups. @default none */
  readonly logins?: Logins
  /**
   * The secrets that sign contexts, newest first. Afterwards the database accepts them.
   * @default the keys stay unchanged
   */
  readonly signingSecrets?: readonly string[]
  /**
   * Whether the database afterwards accepts no other secret. `true` throws if a running process
   * signs with another secret; `'now'` does not check.
   * @default false
   */
  readonly dropOldSecrets?: boolean | 'now'
  /**
   * Whether to revoke from PUBLIC what no tenant's statement needs: see {@link harden}.
   * @default false
   */
  readonly harden?: boolean
  /**
   * Whether tenants may get own roles or schemas: lets the owner's login create roles.
   * @default false
   */
  readonly tenantRoles?: boolean
  /** Called with each sentence of the answer that names a step which the operator must do. */
  readonly onLeft?: (sentence: string) => void
  /**
   * Called if the installation gets a new id. Then the server may be another one, and grants to
   * tenant roles may be missing although the schema looks complete.
   */
  readonly onMoved?: () => void
  /** The schema in which the owner may create tables afterwards. @default 'public' */
  readonly schema?: string
  /**
   * Makes a new installation id, for a copy of a server's files, which looks like its original.
   * @default false
   */
  readonly newInstallation?: boolean
}

// The comment on the schema, which every login can read, records the version of the SQL files.
const comment = 'fastify-tenancy'

/** The number of the newest SQL file of this version of the suite. */
export const newestVersion: number = sqlFiles.at(-1)?.version ?? 0

/**
 * Returns the newest SQL file's number in the schema's comment; undefined if the comment is not
 * ours.
 */
export function versionOf (schemaComment: string): number | undefined {
  const [name, version] = schemaComment.split(' ')
  return name === comment ? Number(version) : undefined
}

/**
 * Refuses a database whose schema `tenancy` was made by a newer version of the suite, because this
 * version could write wrong data there.
 *
 * @throws FST_TENANCY_SETUP_INVALID
 */
export async function assertNotNewer (client: SqlClient): Promise<void> {
  const { rows: [row] } = await client.query<{ comment: string | null }>(
    "select pg_catalog.obj_description(pg_catalog.to_regnamespace('tenancy')::oid, 'pg_namespace') as comment"
  )
  const version = versionOf(row?.comment ?? '')
  if (version === undefined || version <= newestVersion) return
  throw new SetupInvalidError(
    `schema tenancy of this database is of version ${version}, and this version of the suite knows ` +
      `${newestVersion}: use the newer version`
  )
}

/**
 * Sets a database up: roles, schema `tenancy`, logins, signing keys. Idempotent and safe to run
 * concurrently. Atomic: one transaction, retried if another database's set-up changed the
 * server-wide roles meanwhile.
 *
 * @param client one connection of a superuser, or of a login with CREATEROLE and CREATE on the
 * database
 * @returns one sentence for each repair in a restored database, each remaining step and each notice
 * @throws FST_TENANCY_SETUP_INVALID if the login lacks a privilege, a secret to drop is in use, or
 * a newer version of the suite made the schema
 */
export async function init (client: SqlClient, options: InitOptions = {}): Promise<readonly string[]> {
  const session = await readSessionInfo(client)
  const roles = rolesOf(session.database)
  await assertNotNewer(client)
  return retried(() =>
    inTransaction(client, async () => {
      await ensureRoles(client, roles)
      await becomeOwner(client, session, roles)
      // Set-ups of one database wait here. Roles belong to the server, and no lock spans databases.
      await lockSetup(client)
      const rebound = await rebind(client, session, roles)
      await grantSchema(client, roles, options.schema ?? 'public')
      await applyFiles(client, roles)
      if (session.superuser) await ensureCatalogEpoch(client)
      await ensureLogins(client, session, roles, options.logins ?? {})
      if (options.tenantRoles) await allowTenantRoles(client, session, roles, options.logins?.owner?.user)
      const left = await grantTenantRoles(client, session, roles, options.logins ?? {})
      const notes = options.signingSecrets === undefined
        ? []
        : await syncKeys(client, roles, options.signingSecrets, options.dropOldSecrets ?? false)
      const installation = await ensureInstallation(client, session, roles, options.newInstallation ?? false)
      if (installation.isNew) options.onMoved?.()
      notes.push(...installation.notes)
      left.push(...installation.left)
      if (options.harden) left.push(...await harden(client, session, roles, options.logins ?? {}))
      await grantHardened(client, roles, options.logins ?? {}, options.harden ?? false)
      for (const sentence of left) options.onLeft?.(sentence)
      return [...rebound, ...notes, ...left]
    }), { attempts: 20, pauseMs: 20, isPassing: isRace }).catch((error: unknown) => {
      throw explained(error)
    })
}

// The session's login must be able to set the owner role, and the owner to create the schema.
async function becomeOwner (client: SqlClient, session: SessionInfo, roles: Roles): Promise<void> {
  if (!session.superuser) await grantRole(client, session, roles.owner, session.user, true)
  const { rows: [existing] } = await client.query(
    "select from pg_catalog.pg_namespace where nspname = 'tenancy'"
  )
  if (existing === undefined)
    await client.query(`create schema tenancy authorization ${quoteName(roles.owner)}`)
  // Needed to create tenants' schemas.
  const { rows: [creator] } = await client.query<{ may: boolean }>(
    `select pg_catalog.has_database_privilege(oid, pg_catalog.current_database(), 'CREATE') as may
    from pg_catalog.pg_roles where rolname = $1`,
    [roles.owner]
  )
  if (creator?.may !== true)
    await client.query(`grant create on database ${quoteName(session.database)} to ${quoteName(roles.owner)}`)
}

// For the tables that migrations create. A login that may not grant this leaves it to the schema's
// owner.
async function grantSchema (client: SqlClient, roles: Roles, schema: string): Promise<void> {
  const { rows: [row] } = await client.query<{ may: boolean; granted: boolean }>(
    `
    select pg_catalog.pg_has_role(session_user, nspowner, 'USAGE') as may,
      coalesce((select pg_catalog.has_schema_privilege(r.oid, n.oid, 'CREATE')
        from pg_catalog.pg_roles r where rolname = $2), false) as granted
    from pg_catalog.pg_namespace n where nspname = $1`,
    [schema, roles.owner]
  )
  if (row?.may === true && !row.granted)
    await client.query(`grant usage, create on schema ${quoteName(schema)} to ${quoteName(roles.owner)}`)
}

async function applyFiles (client: SqlClient, roles: Roles): Promise<void> {
  await client.query(`set local role ${quoteName(roles.owner)}`)
  const { rows: [first] } = await client.query<{ exists: boolean }>(
    "select pg_catalog.to_regclass('tenancy.migrations') is not null as exists"
  )
  const applied = first?.exists
    ? await client.query<{ version: number }>('select version from tenancy.migrations')
    : { rows: [] }
  const versions = new Set(applied.rows.map(({ version }) => version))
  for (const { version, name, sql } of sqlFiles) {
    if (versions.has(version)) continue
    await client.query(withRoles(sql, roles))
    await client.query('insert into tenancy.migrations (version, name) values ($1, $2)', [version, name])
  }
  await client.query(`comment on schema tenancy is '${comment} ${newestVersion}'`)
  await client.query('set local role none')
}

// unique_violation, internal_error ("tuple concurrently updated"), deadlock_detected,
// serialization_failure, duplicate_object
const races = new Set(['23505', 'XX000', '40P01', '40001', '42710'])

function isRace (error: unknown): boolean {
  return races.has(sqlState(error) ?? '')
}

/** Returns an error of the set-up in the form for its caller. */
function explained (error: unknown): unknown {
  return sqlState(error) === '42501'
    ? new SetupInvalidError(
      'this login may not set a database up: `tenancy init` needs a superuser, ' +
        'or a login with CREATEROLE and CREATE on the database',
      { cause: error }
    )
    : error
}
