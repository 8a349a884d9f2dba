import type { ResolvedTables } from '../options.ts'
import { SetupInvalidError } from './errors.ts'
import { hasColumn, inspectTable, inspectTenantColumn, parentKeys, type TableFacts } from './inspect-table.ts'
import { listTables } from './list-tables.ts'
import { childPredicate, policyNames, tenantPredicate, tenantSetting, type PolicyMode } from './policy.ts'
import { readSession, rolesOf, type Roles } from './roles.ts'
import { inTransaction, quoteName, type SqlClient } from './sql-client.ts'

export interface ProtectOptions extends PolicyMode {
  readonly tables: ResolvedTables
  /** False for privileges alone, where strategy `row` keeps all tenants apart. Policies that are there stay. @default true */
  readonly policies?: boolean
}

/**
 * Puts every listed table under its policy and privileges, and takes every other table of the schema
 * from the roles of the application. May be run again at any time, after each migration at the least; all or nothing.
 *
 * Needs a short exclusive lock on each table, for which it waits at most 5 s.
 *
 * @param client one connection of a login that may become the owner role.
 * @throws FST_TENANCY_SETUP_INVALID
 */
export async function protect (client: SqlClient, { tables: listed, policies = true, ...mode }: ProtectOptions): Promise<void> {
  const { database } = await readSession(client)
  const roles = rolesOf(database)
  await inTransaction(client, async () => {
    // Two of one database wait for each other: changes of one table's privileges at once end as "tuple concurrently updated".
    await client.query('select pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext(\'tenancy init\'))')
    await client.query('set local lock_timeout = \'5s\'')
    const tables = await listTables(client, listed)
    await protectSchema(client, roles, tables)
    for (const [table, column] of Object.entries(tables.tenant)) {
      if (policies) await protectTable(client, { schema: tables.schema, table, column, ...mode, roles, parents: Object.keys(tables.tenant) })
      else await grantTable(client, { schema: tables.schema, table, roles })
    }
    for (const table of tables.shared) await protectShared(client, { schema: tables.schema, table, roles })
    for (const table of tables.global) await protectGlobal(client, { schema: tables.schema, table, roles })
  })
}

export interface ProtectTableOptions {
  readonly schema: string
  readonly table: string
  readonly roles: Roles
}

/**
 * One tenant table: forced row-level security with exactly two permissive policies, the column filled from the context,
 * an index that the column leads, and row statements for the application's role.
 *
 * ```sql
 * create policy tenancy_tenant on projects to tenancy_app using (<predicate>) with check (<predicate>);
 * create policy tenancy_system on projects to tenancy_owner, tenancy_system using (true) with check (true);
 * ```
 *
 * A table without the column is protected through its foreign keys to other tenant tables: see `childPredicate`.
 *
 * The second policy is there because FORCE binds the owner too: without it a migration's UPDATE changes 0 rows and a dump fails.
 */
export async function protectTable (client: SqlClient, { schema, table, column, roles, parents = [], ...mode }: ProtectTableOptions & PolicyMode & { column: string, parents?: readonly string[] }): Promise<void> {
  const facts = await inspectTable(client, schema, table)
  const ours: readonly string[] = Object.values(policyNames)
  const foreign = facts.policies.filter(policy => !ours.includes(policy))
  // Permissive policies are joined by OR: any other one could let another tenant's rows through.
  if (foreign.length > 0) throw new SetupInvalidError(`table ${facts.name} has other policies (${foreign.join(', ')}): drop them, or take the table from options.tables`)
  const keys = await hasColumn(client, facts, column) ? [] : await parentKeys(client, facts, schema, parents)
  // Without a key to a tenant table either, this is the error that tells of the missing column.
  const { using, check } = childPredicate(facts.name, keys) ?? await prepareColumn(client, facts, column, mode)
  const { owner, system, app } = quoted(roles)
  await takeOver(client, facts, roles)
  await client.query(`
    alter table ${facts.name} enable row level security;
    alter table ${facts.name} force row level security;
    drop policy if exists ${policyNames.tenant} on ${facts.name};
    drop policy if exists ${policyNames.system} on ${facts.name};
    create policy ${policyNames.tenant} on ${facts.name} to ${app} using (${using}) with check (${check});
    create policy ${policyNames.system} on ${facts.name} to ${owner}, ${system} using (true) with check (true);`)
  await grantRows(client, facts, app)
}

async function prepareColumn (client: SqlClient, facts: TableFacts, column: string, mode: PolicyMode): Promise<{ using: string, check: string }> {
  const { type, isIdentity, isIndexed } = await inspectTenantColumn(client, facts, column)
  if (!isIndexed) await client.query(`create index on ${facts.name} (${quoteName(column)})`)
  if (!isIdentity) await client.query(`alter table ${facts.name} alter column ${quoteName(column)} set default ${tenantSetting(type)}`)
  const predicate = tenantPredicate(column, type, mode)
  return { using: predicate, check: predicate }
}

/** One tenant table without a policy: row statements for the application's role. Only the rewriting of strategy `row` keeps its tenants apart. */
export async function grantTable (client: SqlClient, { schema, table, roles }: ProtectTableOptions): Promise<void> {
  const facts = await inspectTable(client, schema, table)
  await takeOver(client, facts, roles)
  await grantRows(client, facts, quoted(roles).app)
}

/** One table that all tenants read: SELECT for the application's role and the one of tenants with a schema, and nothing more. */
export async function protectShared (client: SqlClient, { schema, table, roles }: ProtectTableOptions): Promise<void> {
  const facts = await inspectTable(client, schema, table)
  await takeOver(client, facts, roles)
  const { app, shared } = quoted(roles)
  await client.query(`grant select on ${facts.name} to ${app}, ${shared}`)
}

/** One table that no tenant sees: row statements for the role of the global tables. */
export async function protectGlobal (client: SqlClient, { schema, table, roles }: ProtectTableOptions): Promise<void> {
  const facts = await inspectTable(client, schema, table)
  await takeOver(client, facts, roles)
  await grantRows(client, facts, quoted(roles).global)
}

// A new schema privilege is harmless by itself; a privilege left on a table in no list is a hole.
async function protectSchema (client: SqlClient, roles: Roles, { schema, tenant, shared, global }: ResolvedTables): Promise<void> {
  const name = quoteName(schema)
  const { owner, app, shared: sharedRole, system, global: globalRole } = quoted(roles)
  await client.query(`
    revoke create on schema ${name} from public;
    grant usage, create on schema ${name} to ${owner};
    grant usage on schema ${name} to ${app}, ${sharedRole}, ${system}, ${globalRole}`)
  const { rows } = await client.query<{ name: string, kind: string }>(`
    select c.oid::regclass::text as name, case c.relkind when 'S' then 'sequence' else 'table' end as kind
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = $1 and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S') and c.relname <> all($2)
      and exists (select from pg_catalog.aclexplode(c.relacl) where grantee = 0 or grantee in (select oid from pg_catalog.pg_roles where rolname in ($3, $4, $5)))
  `, [schema, [...Object.keys(tenant), ...shared, ...global], roles.app, roles.global, roles.shared])
  for (const unlisted of rows) await client.query(`revoke all on ${unlisted.kind} ${unlisted.name} from public, ${app}, ${sharedRole}, ${globalRole}`)
}

// Who owned a table could turn its policies off, and what was granted on it before would still hold.
async function takeOver (client: SqlClient, { family, sequences, name }: TableFacts, roles: Roles): Promise<void> {
  const { owner, app, shared, global, system, registry } = quoted(roles)
  const everybody = `public, ${app}, ${shared}, ${global}, ${system}, ${registry}`
  for (const member of family) await client.query(`alter table ${member} owner to ${owner}; revoke all on ${member} from ${everybody}`)
  for (const sequence of sequences) await client.query(`revoke all on sequence ${sequence} from ${everybody}; grant usage on sequence ${sequence} to ${system}`)
  await client.query(`grant select, insert, update, delete on ${name} to ${system}`)
}

// Never TRUNCATE, which asks no policy; nor REFERENCES and TRIGGER, which act with the table owner's rights.
async function grantRows (client: SqlClient, { name, sequences }: TableFacts, role: string): Promise<void> {
  await client.query(`grant select, insert, update, delete on ${name} to ${role}`)
  for (const sequence of sequences) await client.query(`grant usage on sequence ${sequence} to ${role}`)
}

function quoted (roles: Roles): Roles {
  return {
    owner: quoteName(roles.owner), app: quoteName(roles.app), shared: quoteName(roles.shared), global: quoteName(roles.global),
    system: quoteName(roles.system), registry: quoteName(roles.registry)
  }
}
