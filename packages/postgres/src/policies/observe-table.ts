import { nameOfRelation, quoteName, quoteText, type SqlClient } from '../client/sql-client.ts'
import { SetupInvalidError } from '../errors.ts'
import { readSessionInfo, rolesOf, type Roles } from '../roles/roles.ts'
import { inspectTable, type TableFacts } from '../tables/inspect-table.ts'
import type { ResolvedTables } from '../tables/table-lists.ts'
import { viewNames } from '../tables/views.ts'
import { grantRows, quotedRoles } from './grants.ts'
import { conditionOf, createPolicies, legacyPolicy, type ProtectTableOptions,
  type TenantTableOptions } from './tenant-table.ts'

/**
 * Restricts new code to its tenant on one tenant table, while legacy code works as before. Creates
 * our two policies, and a third that lets the legacy code's roles through. Row-level security is
 * not forced, the owner stays, and nothing is revoked.
 *
 * ```sql
 * alter table tasks enable row level security;
 * create policy tenancy_legacy on tasks to old_app, reports using (true) with check (true);
 * comment on policy tenancy_legacy on tasks
 *   is '{"old_app": "2027-03-31", "reports": "2027-06-30"}';
 * ```
 *
 * @throws FST_TENANCY_SETUP_INVALID if an unlisted role would lose the table, or it is not prepared
 */
export async function observeTable (
  client: SqlClient,
  { legacy, ...target }: TenantTableOptions & { legacy: Readonly<Record<string, string>> }
): Promise<void> {
  const { roles, table } = target
  const facts = await inspectTable(client, target.schema, table)
  if (facts.policies.includes('tenancy_tenant') && !facts.policies.includes(legacyPolicy))
    throw new SetupInvalidError(
      `table '${table}' is enforced already: what was taken from old code would not come back`
    )
  const names = Object.keys(legacy)
  if (names.length === 0)
    throw new SetupInvalidError(
      `options.adoption.legacy names no role for table '${table}': name the roles of old code there, ` +
        `or run \`tenancy protect ${table} --stage enforce\``
    )
  await assertPrepared(client, facts, target.column)
  await assertListed(client, facts, roles, names)
  const condition = await conditionOf(client, facts, target)
  const { app, system } = quotedRoles(roles)
  await client.query(`
    alter table ${facts.name} enable row level security;
    ${createPolicies(facts, roles, condition)};
    drop policy if exists ${legacyPolicy} on ${facts.name};
    create policy ${legacyPolicy} on ${facts.name} to ${
    names.map(quoteName).join(', ')
  } using (true) with check (true);
    comment on policy ${legacyPolicy} on ${facts.name} is ${quoteText(JSON.stringify(legacy))}`)
  await grantRows(client, facts, system)
  await grantRows(client, facts, app)
}

// `protect` creates a missing index and replaces the column default on the way. Here that would
// hold a lock for long and remove a default that legacy code relies on. So require `--stage
// prepare` first.
async function assertPrepared (client: SqlClient, { oid, name }: TableFacts, column: string): Promise<void> {
  const { rows: [row] } = await client.query<{ ready: boolean }>(
    `
    select exists (select from pg_catalog.pg_index
      where indrelid = a.attrelid and indkey[0] = a.attnum and indpred is null and indisvalid)
      and (not a.atthasdef or pg_catalog.pg_get_expr(d.adbin, d.adrelid) like '%tenancy.tenant%'
        or exists (select from pg_catalog.pg_trigger
          where tgrelid = a.attrelid and tgname = 'tenancy_fill')) as ready
    from pg_catalog.pg_attribute a
      left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
    where a.attrelid = $1 and a.attname = $2 and not a.attisdropped`,
    [oid, column]
  )
  // A table without the column belongs to its parents' tenant, so it needs no preparation.
  if (row?.ready === false)
    throw new SetupInvalidError(
      `table ${name} is not prepared: its tenant column has no index, ` +
        'or a default that old code counts on: ' +
        'set options.adoption.backfill for it and run `tenancy protect --stage prepare`'
    )
}

/** The roles that would lose one of these tables under policies. */
export interface UnlistedRoles {
  /** Listed roles that do not exist. */
  readonly missing: readonly string[]
  readonly unlisted: readonly { readonly role: string; readonly tables: readonly string[] }[]
  /** Tables on which PUBLIC has privileges. */
  readonly open: readonly string[]
}

/** Returns the unlisted roles with privileges on these tables. Read-only. */
export async function readUnlistedRoles (
  client: SqlClient,
  schema: string,
  tables: readonly string[],
  legacy: readonly string[]
): Promise<UnlistedRoles> {
  const { database } = await readSessionInfo(client)
  const roles = rolesOf(database)
  const lost = new Map<string, string[]>()
  const [missing, open] = [new Set<string>(), [] as string[]]
  for (const table of tables) {
    const { rows: [target] } = await client.query<{ oid: number }>(
      `select c.oid::int8::int as oid from pg_catalog.pg_class c
      join pg_catalog.pg_namespace n on n.oid = c.relnamespace where n.nspname = $1 and c.relname = $2`,
      [schema, table]
    )
    const found = target && await readGrantees(client, target.oid, roles, legacy)
    for (const role of found?.missing ?? []) missing.add(role)
    for (const role of found?.unlisted ?? []) lost.set(role, [...lost.get(role) ?? [], table])
    if (found?.open === true) open.push(`${quoteName(schema)}.${quoteName(table)}`)
  }
  return {
    missing: [...missing],
    unlisted: [...lost].map(([role, names]) => ({ role, tables: names })),
    open
  }
}

// Policies deny every role that they do not name. And a listed role must not contain the role of
// tenants' statements, which its policy would then let through.
async function assertListed (
  client: SqlClient,
  { oid, name }: TableFacts,
  roles: Roles,
  legacy: readonly string[]
): Promise<void> {
  const row = await readGrantees(client, oid, roles, legacy)
  if (row === undefined) return
  if (row.missing.length > 0)
    throw new SetupInvalidError(`there is no role '${row.missing[0]}': take it from options.adoption.legacy`)
  if (row.open)
    throw new SetupInvalidError(
      `PUBLIC has privileges on table ${name}: grant them to the roles that use it, ` +
        `then revoke all on ${name} from public`
    )
  if (row.unlisted.length > 0)
    throw new SetupInvalidError(
      `${
        row.unlisted.join(', ')
      } would lose table ${name}: name each in options.adoption.legacy with its last day, ` +
        'or revoke its privileges'
    )
  if (row.reached.length > 0)
    throw new SetupInvalidError(
      `the role of tenants' statements is a member of '${
        row.reached[0]
      }', whose policy would show it every tenant: revoke that`
    )
}

async function readGrantees (
  client: SqlClient,
  oid: number,
  roles: Roles,
  legacy: readonly string[]
): Promise<{ missing: string[]; unlisted: string[]; open: boolean; reached: string[] } | undefined> {
  const { rows: [row] } = await client.query<
    { missing: string[]; unlisted: string[]; open: boolean; reached: string[] }
  >(
    `
    with acl as (
      select coalesce(relacl, pg_catalog.acldefault('r', relowner)) as acl from pg_catalog.pg_class
        where oid = $1
      union all select attacl from pg_catalog.pg_attribute where attrelid = $1 and attacl is not null
    ), grantee as (select distinct (pg_catalog.aclexplode(acl)).grantee as oid from acl),
    -- Members of the server's own roles for all tables appear in no table's privileges.
    everywhere as (
      select r.oid from pg_catalog.pg_roles r
        join pg_catalog.pg_roles server on server.rolname in ('pg_read_all_data', 'pg_write_all_data')
      where r.oid <> server.oid and r.rolcanlogin
        and pg_catalog.pg_has_role(r.oid, server.oid, 'MEMBER')
        and pg_catalog.has_database_privilege(r.oid, pg_catalog.current_database(), 'CONNECT')
        and not exists (select from pg_catalog.pg_roles listed
          where listed.rolname = any($2) and pg_catalog.pg_has_role(r.oid, listed.oid, 'USAGE'))
    )
    select array(select wanted.name from unnest($2::text[]) wanted (name)
      where not exists (select from pg_catalog.pg_roles where rolname = wanted.name)) as missing,
      array(select rolname::text from (select oid from grantee union select oid from everywhere) found
        join pg_catalog.pg_roles r using (oid)
        where not rolsuper and not rolbypassrls and rolname <> all($2) and rolname <> all($3)
          order by 1) as unlisted,
      exists (select from grantee where oid = 0) as open,
      array(select r.rolname::text from pg_catalog.pg_roles r join pg_catalog.pg_roles app on app.rolname = $4
        where r.rolname = any($2) and pg_catalog.pg_has_role(app.oid, r.oid, 'MEMBER')
          order by 1) as reached`,
    [oid, legacy, Object.values(roles), roles.app]
  )
  return row
}

/** Grants our roles a shared table that legacy code uses. Revokes nothing. */
export async function openShared (
  client: SqlClient,
  { schema, table, roles }: ProtectTableOptions
): Promise<void> {
  const facts = await inspectTable(client, schema, table)
  const { app, shared, system } = quotedRoles(roles)
  await client.query(`grant select on ${facts.name} to ${app}, ${shared}`)
  await grantRows(client, facts, system)
}

/** Grants our roles a global table that legacy code uses. Revokes nothing. */
export async function openGlobal (
  client: SqlClient,
  { schema, table, roles }: ProtectTableOptions
): Promise<void> {
  const facts = await inspectTable(client, schema, table)
  const { global, system } = quotedRoles(roles)
  await grantRows(client, facts, system)
  await grantRows(client, facts, global)
}

/**
 * Grants our roles the use of a schema in which legacy code works. Revokes privileges only from
 * our own roles. Tables that PUBLIC may use are refused, because tenants' statements could use
 * them too.
 *
 * @throws FST_TENANCY_SETUP_INVALID if PUBLIC has privileges on a table of the schema
 */
export async function grantSchemaUsage (
  client: SqlClient,
  roles: Roles,
  { schema, tenant, shared, global, views }: ResolvedTables
): Promise<void> {
  const name = quoteName(schema)
  const { app, shared: sharedRole, system, global: globalRole } = quotedRoles(roles)
  await client.query(`grant usage on schema ${name} to ${app}, ${sharedRole}, ${system}, ${globalRole}`)
  const { rows } = await client.query<{ name: string; kind: string; open: boolean }>(
    `
    select ${
      nameOfRelation('c.oid')
    } as name, case c.relkind when 'S' then 'sequence' else 'table' end as kind,
      exists (select from pg_catalog.aclexplode(c.relacl) where grantee = 0) as open
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = $1 and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S') and c.relname <> all($2)
      and exists (select from pg_catalog.aclexplode(c.relacl)
        where grantee = 0 or grantee in (select oid from pg_catalog.pg_roles where rolname in ($3, $4, $5)))
      and not exists (select from pg_catalog.pg_depend
        where classid = 'pg_catalog.pg_class'::regclass and objid = c.oid and deptype in ('e', 'a', 'i'))
    order by 1`,
    [schema, [...Object.keys(tenant), ...shared, ...global, ...viewNames(views)], roles.app, roles.global,
      roles.shared]
  )
  for (const unlisted of rows) {
    if (unlisted.open)
      throw new SetupInvalidError(
        `PUBLIC has privileges on ${unlisted.kind} ${unlisted.name}: grant them to the roles that use it, ` +
          `then revoke all on ${unlisted.kind} ${unlisted.name} from public`
      )
    await client.query(
      `revoke all on ${unlisted.kind} ${unlisted.name} from ${app}, ${sharedRole}, ${globalRole}`
    )
  }
}
