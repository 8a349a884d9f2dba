import { inTransaction, sqlState, type SqlClient } from '../client/sql-client.ts'
import { signToken, type SigningKey } from '../context-token.ts'
import { SetupInvalidError } from '../errors.ts'
import { policyNames } from '../policies/policy.ts'
import { legacyPolicy } from '../policies/tenant-table.ts'
import { rolesOf } from '../roles/roles.ts'
import type { ResolvedTables } from '../tables/table-lists.ts'
import { assertInvokers, viewNames } from '../tables/views.ts'
import { newestVersion, versionOf } from './init.ts'

export interface InitialisedOptions {
  readonly tables: ResolvedTables
  /** Whether the policies must ask for a signed context. */
  readonly signed: boolean
  /** Whether the policies must ask for the tenant's own role. @default 'setting' */
  readonly context?: 'setting' | 'role'
  /** The keys that this process may sign with, newest first. @default not checked */
  readonly key?: SigningKey | readonly SigningKey[]
}

/**
 * Resolves if the database is set up as this version of the suite, its tables and its mode need it.
 * Works for every login, and is read-only. Accepts a listed table that does not exist yet, because
 * before `protect` has run, no tenant's statement may read it.
 *
 * @returns the newest of the keys that the database knows; undefined without keys
 * @throws FST_TENANCY_SETUP_INVALID, which names the command to run
 */
export async function assertInitialised (
  client: SqlClient,
  { tables, signed, context = 'setting', key = [] }: InitialisedOptions
): Promise<SigningKey | undefined> {
  const { rows: [state] } = await client.query<{ database: string; comment: string | null }>(`
    select pg_catalog.current_database()::text as database,
      pg_catalog.obj_description(pg_catalog.to_regnamespace('tenancy')::oid, 'pg_namespace') as comment`)
  const version = versionOf(state?.comment ?? '')
  if (state === undefined || version === undefined)
    throw new SetupInvalidError('the database is not initialised: run `tenancy init`')
  if (version < newestVersion)
    throw new SetupInvalidError(
      `the database was initialised by an older version (${version} of ${newestVersion}): ` +
        'run `tenancy init`'
    )
  const { app } = rolesOf(state.database)
  await assertCanBecome(client, app)
  await assertInvokers(client, tables.schema, viewNames(tables.views))
  await assertProtected(client, tables, signed, context)
  return findKnown(client, app, [key].flat())
}

async function assertCanBecome (client: SqlClient, role: string): Promise<void> {
  const { rows: [row] } = await client.query<{ may: boolean }>(
    `
    select pg_catalog.pg_has_role(session_user, oid,
      case when current_setting('server_version_num')::int >= 160000 then 'SET' else 'MEMBER' end) as may
    from pg_catalog.pg_roles where rolname = $1`,
    [role]
  )
  if (row === undefined)
    throw new SetupInvalidError(
      'the roles of this database are missing (a restored copy brings no roles): run `tenancy init`'
    )
  if (!row.may)
    throw new SetupInvalidError(
      "the login in options.database.url may not become the role of tenants' statements: " +
        'run `tenancy init` with this URL'
    )
}

/**
 * Resolves if the login of `tenantRolesUrl` may run statements of tenants that have a role. Also
 * works before the first such tenant exists.
 *
 * @param client one connection of that login
 * @throws FST_TENANCY_SETUP_INVALID, which names the command to run
 */
export async function assertMayTakeRoles (client: SqlClient, database: string): Promise<void> {
  const { app, shared } = rolesOf(database)
  const { rows: [row] } = await client.query<{ context: boolean | null; roles: number; taken: number }>(
    `
    select (select pg_catalog.has_schema_privilege(session_user, n.oid, 'USAGE')
      and pg_catalog.has_function_privilege(session_user, p.oid, 'EXECUTE')
        from pg_catalog.pg_namespace n join pg_catalog.pg_proc p on p.pronamespace = n.oid
        where n.nspname = 'tenancy' and p.proname = 'check_lockout') as context,
      count(r.oid)::int as roles,
      (count(r.oid) filter (where pg_catalog.pg_has_role(session_user, r.oid,
        case when pg_catalog.current_setting('server_version_num')::int >= 160000 then 'SET'
          else 'MEMBER' end)))::int as taken
    from (select) one left join pg_catalog.pg_roles r on r.rolname ~ '^tenanth?_' and exists (
      select from pg_catalog.pg_auth_members m join pg_catalog.pg_roles g on g.oid = m.roleid
      where m.member = r.oid and g.rolname = any($1))`,
    [[app, shared]]
  )
  const isBarred = row === undefined || row.context === false || (row.roles > 0 && row.taken === 0)
  if (isBarred)
    throw new SetupInvalidError(
      'the login in options.database.tenantRolesUrl may not become the roles of tenants: ' +
        'run `tenancy init` with this URL'
    )
}

async function assertProtected (
  client: SqlClient,
  tables: ResolvedTables,
  signed: boolean,
  context: 'setting' | 'role'
): Promise<void> {
  const { rows } = await client.query<
    { table: string; child: boolean; forced: boolean; policies: string[]; predicate: string | null }
  >(
    `
    select c.relname::text as table,
      not exists (select from pg_catalog.pg_attribute
        where attrelid = c.oid and attname = listed.column_name and not attisdropped) as child,
      c.relrowsecurity and (c.relforcerowsecurity or exists (select from pg_catalog.pg_policy
        where polrelid = c.oid and polname = $5)) as forced,
      array(select polname::text from pg_catalog.pg_policy where polrelid = c.oid and polname <> $5
        order by polname) as policies,
      (select pg_catalog.pg_get_expr(polqual, polrelid) from pg_catalog.pg_policy
        where polrelid = c.oid and polname = $3) as predicate
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    join unnest($2::text[], $4::text[]) listed (table_name, column_name) on listed.table_name = c.relname
    where n.nspname = $1
    order by c.relname`,
    [tables.schema, Object.keys(tables.tenant), policyNames.tenant, Object.values(tables.tenant),
      legacyPolicy]
  )
  // Ignores the additional policy for legacy code: `tenancy protect --stage observe` reports it to
  // the operator.
  const expected = Object.values(policyNames).toSorted().join()
  for (const { table, child, forced, policies, predicate } of rows) {
    if (!forced || policies.join() !== expected)
      throw new SetupInvalidError(`table '${table}' is not protected: run \`tenancy protect ${table}\``)
    // A table without a tenant column is checked through its parent's policy.
    if (child) continue
    if (predicate?.includes('verified_tenant()') !== signed) {
      throw new SetupInvalidError(
        signed
          ? `the policy of table '${table}' asks for no signature, and options.rls.secret is set: ` +
            'run `tenancy protect` with the secret'
          : `the policy of table '${table}' asks for a signature, and options.rls.secret is missing: set it`
      )
    }
    if (predicate?.includes('role_tenant(') !== (context === 'role')) {
      throw new SetupInvalidError(
        `the policy of table '${table}' was made for another options.rls.context than '${context}': ` +
          'run `tenancy protect` with these options'
      )
    }
  }
}

// During a rotation of secrets, `tenancy init` may not have run with the new secret yet.
async function findKnown (
  client: SqlClient,
  role: string,
  keys: readonly SigningKey[]
): Promise<SigningKey | undefined> {
  let cause: unknown
  for (const key of keys) {
    cause = await refusalOf(client, role, key)
    if (cause === undefined) return key
  }
  if (keys.length === 0) return undefined
  throw new SetupInvalidError(
    'the database does not accept what options.rls.secret signs ' +
      '(or the clocks differ by more than 30 s): run `tenancy init` with this secret',
    { cause }
  )
}

async function refusalOf (client: SqlClient, role: string, key: SigningKey): Promise<unknown> {
  return inTransaction(client, async () => {
    await client.query(
      "select pg_catalog.set_config('role', $1, true), pg_catalog.set_config('tenancy.token', $2, true)",
      [role, signToken({ key, tenant: 'nobody' })]
    )
    await client.query('select tenancy.verified_tenant()')
    return undefined
  }).catch((error: unknown) => {
    if (sqlState(error) !== 'TN401') throw error
    return error
  })
}
