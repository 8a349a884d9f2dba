import { lockSetup } from '../client/lock-setup.ts'
import { inTransaction, nameOfRelation, quoteName, type SqlClient } from '../client/sql-client.ts'
import { SetupInvalidError } from '../errors.ts'
import { readSessionInfo, rolesOf, type Roles } from '../roles/roles.ts'
import { drawnFrom, inspectTable } from '../tables/inspect-table.ts'
import { listTables } from '../tables/list-tables.ts'
import type { ResolvedTables } from '../tables/table-lists.ts'
import { viewNames } from '../tables/views.ts'
import { grantRows, quotedRoles, takeOwnership } from './grants.ts'
import { transferOwnership, readOldCode } from './legacy-code.ts'
import { observeTable, openGlobal, grantSchemaUsage, openShared } from './observe-table.ts'
import type { PolicyMode } from './policy.ts'
import { protectViews } from './protect-views.ts'
import { conditionOf, createPolicies, type ProtectTableOptions,
  type TenantTableOptions } from './tenant-table.ts'

export interface ProtectOptions extends PolicyMode {
  readonly tables: ResolvedTables
  /** False for privileges alone, where strategy `row` keeps all tenants apart. Policies that are there stay. @default true */
  readonly policies?: boolean
  /** `'observe'` leaves the roles of old code their rights, see `observeTable`; `'enforce'` ends that. @default each table stays as it is */
  readonly stage?: 'observe' | 'enforce'
  /** The tenant tables to work on. @default all */
  readonly only?: readonly string[] | undefined
  /** The roles of old code, each with the last day on which it may still work. Without a stage, a table that one of them uses is refused. @default those of the table's last observation */
  readonly legacy?: Readonly<Record<string, string>>
  /** Tables that were enforced just before, which a script does not find in the catalog. @default none */
  readonly enforced?: readonly string[]
  /** Whether `'enforce'` ends an observation before its last day. @default false */
  readonly isForced?: boolean
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
export async function protect (client: SqlClient, options: ProtectOptions): Promise<void> {
  await inTransaction(client, async () => {
    await client.query("set local lock_timeout = '5s'")
    await protectTables(client, options)
  })
}

/** {@link protect} as a part of a transaction that is open: what makes a table can protect it in the same breath. */
export async function protectTables (
  client: SqlClient,
  { tables: listed, policies = true, stage, only, legacy = {}, enforced = [], isForced = false, ...mode }:
    ProtectOptions
): Promise<void> {
  const { database } = await readSessionInfo(client)
  const roles = rolesOf(database)
  // Two of one database wait for each other: changes of one table's privileges at once end as "tuple concurrently updated".
  await lockSetup(client)
  const tables = await listTables(client, listed)
  const { schema, views = { tenant: {}, shared: [], global: [] } } = tables
  const unknown = only?.find(table =>
    !Object.hasOwn(tables.tenant, table) && !tables.shared.includes(table) &&
    !tables.global.includes(table) &&
    !viewNames(views).includes(table)
  )
  if (unknown !== undefined)
    throw new SetupInvalidError(
      `options.tables does not list the table '${unknown}', so that nothing says whose its rows are: list it, or mend its name`
    )
  const old = await readOldCode(client, schema, legacy)
  const isChosen = (table: string): boolean => only?.includes(table) ?? true
  // Old code works in the whole schema: as long as one table is left to it, nothing is taken from anybody but us.
  const isShared = Object.keys(tables.tenant).some(table =>
    isChosen(table) && stage !== undefined ? stage === 'observe' : old.has(table) && !enforced.includes(table)
  )
  const ownershipTransfer = { isMeant: stage === 'enforce', isForced }
  if (isShared) await grantSchemaUsage(client, roles, tables)
  else await protectSchema(client, roles, tables)
  for (const [table, column] of Object.entries(tables.tenant).filter(([table]) => isChosen(table))) {
    const target = { schema, table, column, ...mode, roles, parents: Object.keys(tables.tenant) }
    if (!policies) await grantTable(client, { schema, table, roles })
    else if (stage === 'observe')
      await observeTable(client, {
        ...target,
        legacy: Object.keys(legacy).length > 0 ? legacy : old.get(table)?.legacy ?? {}
      })
    // Left alone: the locks of several tables in one transaction are more than old code should meet in passing.
    else if (stage !== undefined || old.get(table)?.isObserved !== true)
      await transferOwnership(client, old.get(table), ownershipTransfer, () => protectTable(client, target))
  }
  const [shareTable, globalTable] = isShared ? [openShared, openGlobal] : [protectShared, protectGlobal]
  for (const [names, work] of [[tables.shared, shareTable], [tables.global, globalTable]] as const) {
    for (const table of names)
      await transferOwnership(
        client,
        isShared ? undefined : old.get(table),
        ownershipTransfer,
        () => work(client, { schema, table, roles })
      )
  }
  const chosen = (names: readonly string[]): readonly string[] => names.filter(isChosen)
  await protectViews(client, {
    schema,
    views: {
      tenant: Object.fromEntries(Object.entries(views.tenant).filter(([view]) => isChosen(view))),
      shared: chosen(views.shared),
      global: chosen(views.global)
    },
    roles,
    isShared
  })
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
export async function protectTable (client: SqlClient, target: TenantTableOptions): Promise<void> {
  const { roles } = target
  const facts = await inspectTable(client, target.schema, target.table)
  const condition = await conditionOf(client, facts, target)
  await takeOwnership(client, facts, roles)
  await client.query(`
    alter table ${facts.name} enable row level security;
    alter table ${facts.name} force row level security;
    ${createPolicies(facts, roles, condition)}`)
  await grantRows(client, facts, quotedRoles(roles).app)
}

/** One tenant table without a policy: row statements for the application's role. Only the rewriting of strategy `row` keeps its tenants apart. */
export async function grantTable (
  client: SqlClient,
  { schema, table, roles }: ProtectTableOptions
): Promise<void> {
  const facts = await inspectTable(client, schema, table)
  await takeOwnership(client, facts, roles)
  await grantRows(client, facts, quotedRoles(roles).app)
}

/** One table that all tenants read: SELECT for the application's role and the one of tenants with a schema, and nothing more. */
export async function protectShared (
  client: SqlClient,
  { schema, table, roles }: ProtectTableOptions
): Promise<void> {
  const facts = await inspectTable(client, schema, table)
  // An extension keeps its tables; what it granted on them stays.
  if (facts.extension === null) await takeOwnership(client, facts, roles)
  const { app, shared } = quotedRoles(roles)
  await client.query(`grant select on ${facts.name} to ${app}, ${shared}`)
}

/** One table that no tenant sees: row statements for the role of the global tables. */
export async function protectGlobal (
  client: SqlClient,
  { schema, table, roles }: ProtectTableOptions
): Promise<void> {
  const facts = await inspectTable(client, schema, table)
  await takeOwnership(client, facts, roles)
  await grantRows(client, facts, quotedRoles(roles).global)
}

// A new schema privilege is harmless by itself; a privilege left on a table in no list is a hole.
async function protectSchema (
  client: SqlClient,
  roles: Roles,
  { schema, tenant, shared, global, views }: ResolvedTables
): Promise<void> {
  const name = quoteName(schema)
  const { owner, app, shared: sharedRole, system, global: globalRole } = quotedRoles(roles)
  await client.query(`
    revoke create on schema ${name} from public;
    grant usage, create on schema ${name} to ${owner};
    grant usage on schema ${name} to ${app}, ${sharedRole}, ${system}, ${globalRole}`)
  const listed =
    'select l.oid from pg_catalog.pg_class l join pg_catalog.pg_namespace ln on ln.oid = l.relnamespace where ln.nspname = $1 and l.relname = any($2)'
  const { rows } = await client.query<{ name: string; kind: string }>(
    `
    ${drawnFrom(listed)}
    select ${
      nameOfRelation('c.oid')
    } as name, case c.relkind when 'S' then 'sequence' else 'table' end as kind
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = $1 and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S') and c.relname <> all($2)
      and exists (select from pg_catalog.aclexplode(c.relacl) where grantee = 0 or grantee in (select oid from pg_catalog.pg_roles where rolname in ($3, $4, $5)))
      and c.oid not in (select seq from drawn)
      -- What an extension brought, and granted: of PostGIS, every session reads the tables.
      and not exists (select from pg_catalog.pg_depend d where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
  `,
    [schema, [...Object.keys(tenant), ...shared, ...global, ...viewNames(views)], roles.app, roles.global,
      roles.shared]
  )
  for (const unlisted of rows)
    await client.query(
      `revoke all on ${unlisted.kind} ${unlisted.name} from public, ${app}, ${sharedRole}, ${globalRole}`
    )
}
