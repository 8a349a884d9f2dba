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
import { assertNoUnsignedSessions } from './unsigned-sessions.ts'

export interface ProtectOptions extends PolicyMode {
  readonly tables: ResolvedTables
  /**
   * `false` for privileges without policies, if strategy `row` separates all tenants. Existing
   * policies stay.
   * @default true
   */
  readonly policies?: boolean
  /**
   * `'observe'` lets the roles of legacy code keep their rights, see `observeTable`. `'enforce'`
   * ends the observation.
   * @default each table stays in its stage
   */
  readonly stage?: 'observe' | 'enforce'
  /** The tenant tables to work on. @default all */
  readonly only?: readonly string[] | undefined
  /**
   * The roles of legacy code, each with its last day. Without a stage, `protect` refuses a table
   * that such a role uses.
   * @default the roles of the table's last observation
   */
  readonly legacy?: Readonly<Record<string, string>>
  /**
   * Tables that the same script enforced before, which the catalog does not show yet.
   * @default none
   */
  readonly enforced?: readonly string[]
  /** Whether `'enforce'` ends an observation before its last day. @default false */
  readonly isForced?: boolean
}

/**
 * Applies policies and privileges to every listed table, and revokes every other table of the
 * schema from the application's roles. Atomic and idempotent; to be run after each migration.
 *
 * Needs a short exclusive lock on each table, for which it waits at most 5 s.
 *
 * @param client one connection of a login that may set the owner role
 * @throws FST_TENANCY_SETUP_INVALID
 */
export async function protect (client: SqlClient, options: ProtectOptions): Promise<void> {
  await inTransaction(client, async () => {
    await client.query("set local lock_timeout = '5s'")
    await protectTables(client, options)
  })
}

/**
 * Like {@link protect}, but in the caller's transaction, for callers that have just created a
 * table.
 */
export async function protectTables (
  client: SqlClient,
  { tables: listed, policies = true, stage, only, legacy = {}, enforced = [], isForced = false, ...mode }:
    ProtectOptions
): Promise<void> {
  const { database } = await readSessionInfo(client)
  const roles = rolesOf(database)
  // Serializes set-ups of one database. Concurrent changes of one table's privileges would fail
  // with "tuple concurrently updated".
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
      `options.tables does not list the table '${unknown}', so that nothing says whose its rows are: ` +
        'list it, or correct its name'
    )
  const old = await readOldCode(client, schema, legacy)
  const isChosen = (table: string): boolean => only?.includes(table) ?? true
  // Legacy code uses the whole schema. While one table is still under observation, revoke
  // privileges only from our own roles.
  const isShared = Object.keys(tables.tenant).some(table =>
    isChosen(table) && stage !== undefined ? stage === 'observe' : old.has(table) && !enforced.includes(table)
  )
  if (policies && mode.signed)
    await assertNoUnsignedSessions(client, {
      schema,
      tables: Object.keys(tables.tenant).filter(isChosen),
      roles
    })
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
    // An observed table is left alone, because the locks of several tables in one transaction would
    // block its legacy code.
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
 * Protects one tenant table by forced row-level security with exactly two permissive policies.
 * Adds a column default from the context, an index led by the column, and row statements for the
 * application's role.
 *
 * ```sql
 * create policy tenancy_tenant on projects to tenancy_app
 *   using (<predicate>) with check (<predicate>);
 * create policy tenancy_system on projects to tenancy_owner, tenancy_system
 *   using (true) with check (true);
 * ```
 *
 * Protects a table without the column through its foreign keys to other tenant tables:
 * `childPredicate`.
 *
 * FORCE binds the owner too, hence the second policy. Without it a migration's UPDATE would change
 * 0 rows, and a dump would fail.
 */
async function protectTable (client: SqlClient, target: TenantTableOptions): Promise<void> {
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

/**
 * Grants the application's role the row statements of one tenant table, without a policy. Only
 * strategy `row`'s rewriting separates its tenants.
 */
async function grantTable (
  client: SqlClient,
  { schema, table, roles }: ProtectTableOptions
): Promise<void> {
  const facts = await inspectTable(client, schema, table)
  await takeOwnership(client, facts, roles)
  await grantRows(client, facts, quotedRoles(roles).app)
}

/**
 * Protects one shared table, which all tenants read: SELECT for the application's role and for the
 * role of tenants with a schema, and nothing more.
 */
async function protectShared (
  client: SqlClient,
  { schema, table, roles }: ProtectTableOptions
): Promise<void> {
  const facts = await inspectTable(client, schema, table)
  // An extension keeps the ownership of its tables, and the grants that it made on them.
  if (facts.extension === null) await takeOwnership(client, facts, roles)
  const { app, shared } = quotedRoles(roles)
  await client.query(`grant select on ${facts.name} to ${app}, ${shared}`)
}

/**
 * Protects one global table, which no tenant sees: row statements for the role of global tables.
 */
export async function protectGlobal (
  client: SqlClient,
  { schema, table, roles }: ProtectTableOptions
): Promise<void> {
  const facts = await inspectTable(client, schema, table)
  await takeOwnership(client, facts, roles)
  await grantRows(client, facts, quotedRoles(roles).global)
}

// Grants on the schema alone are harmless. A privilege on an unlisted table would be a leak.
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
    `select l.oid from pg_catalog.pg_class l join pg_catalog.pg_namespace ln on ln.oid = l.relnamespace
    where ln.nspname = $1 and l.relname = any($2)`
  const { rows } = await client.query<{ name: string; kind: string }>(
    `
    ${drawnFrom(listed)}
    select ${
      nameOfRelation('c.oid')
    } as name, case c.relkind when 'S' then 'sequence' else 'table' end as kind
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = $1 and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S') and c.relname <> all($2)
      and exists (select from pg_catalog.aclexplode(c.relacl)
        where grantee = 0 or grantee in (select oid from pg_catalog.pg_roles where rolname in ($3, $4, $5)))
      and c.oid not in (select seq from drawn)
      -- Not objects of an extension, which has granted them itself: every session reads PostGIS'
      -- tables.
      and not exists (select from pg_catalog.pg_depend d
        where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
  `,
    [schema, [...Object.keys(tenant), ...shared, ...global, ...viewNames(views)], roles.app, roles.global,
      roles.shared]
  )
  for (const unlisted of rows)
    await client.query(
      `revoke all on ${unlisted.kind} ${unlisted.name} from public, ${app}, ${sharedRole}, ${globalRole}`
    )
}
