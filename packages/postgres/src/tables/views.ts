import { nameOfRelation, type SqlClient } from '../client/sql-client.ts'
import { SetupInvalidError } from '../errors.ts'
import type { ListedViews } from './listed-views.ts'
import type { ResolvedTables } from './table-lists.ts'

/**
 * Separates the listed views from the listed tables, because only tables hold rows and policies.
 */
export async function separateViews (client: SqlClient, tables: ResolvedTables): Promise<ResolvedTables> {
  const { schema, tenant, shared, global, views = noViews } = tables
  const listed = [...Object.keys(tenant), ...shared, ...global]
  if (listed.length === 0) return { ...tables, views }
  const { rows } = await client.query<{ name: string }>(
    `
    select c.relname::text as name
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = $1 and c.relname = any($2) and c.relkind = 'v'`,
    [schema, listed]
  )
  const found = new Set(rows.map(({ name }) => name))
  const isView = (name: string): boolean => found.has(name)
  const isTable = (name: string): boolean => !found.has(name)
  const pick = (keep: typeof isView): typeof tenant =>
    Object.fromEntries(Object.entries(tenant).filter(([name]) => keep(name)))
  return {
    ...tables,
    tenant: pick(isTable),
    shared: shared.filter(isTable),
    global: global.filter(isTable),
    views: {
      tenant: { ...views.tenant, ...pick(isView) },
      shared: [...views.shared, ...shared.filter(isView)],
      global: [...views.global, ...global.filter(isView)]
    }
  }
}

const noViews: ListedViews = { tenant: {}, shared: [], global: [] }

/** Returns the names of all listed views. */
export function viewNames ({ tenant, shared, global }: ListedViews = noViews): readonly string[] {
  return [...Object.keys(tenant), ...shared, ...global]
}

/**
 * Resolves if each of these views reads with the rights of the role that queries it.
 *
 * @throws FST_TENANCY_SETUP_INVALID, which names the first view that reads as its owner
 */
export async function assertInvokers (
  client: SqlClient,
  schema: string,
  views: readonly string[]
): Promise<void> {
  const [first] = await ownerViews(client, schema, views)
  if (first !== undefined) throw new SetupInvalidError(ownerViewProblem(first))
}

/** Returns the quoted names of those of these views that read as their owner. */
export async function ownerViews (
  client: SqlClient,
  schema: string,
  views: readonly string[]
): Promise<readonly string[]> {
  if (views.length === 0) return []
  const { rows } = await client.query<{ name: string }>(
    `
    select ${nameOfRelation('c.oid')} as name
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = $1 and c.relname = any($2) and c.relkind = 'v'
      and not coalesce((select option_value::bool from pg_catalog.pg_options_to_table(c.reloptions)
        where option_name = 'security_invoker'), false)
    order by c.relname`,
    [schema, views]
  )
  return rows.map(({ name }) => name)
}

/**
 * Returns the names of the views and materialized views over these tables, also through other
 * views.
 */
export async function readViewsOver (
  client: SqlClient,
  schema: string,
  tables: readonly string[]
): Promise<readonly string[]> {
  const { rows } = await client.query<{ name: string }>(
    `
    with recursive reads (view, relation) as materialized (
      select distinct w.ev_class, d.refobjid from pg_catalog.pg_rewrite w
      join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_rewrite'::regclass and d.objid = w.oid
        and d.refclassid = 'pg_catalog.pg_class'::regclass and d.refobjid <> w.ev_class
    ), reaching (relation) as (
      select c.oid from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
      where n.nspname = $1 and c.relname = any($2)
      union select reads.view from reaching join reads on reads.relation = reaching.relation
    )
    select distinct c.relname::text as name from reaching
      join pg_catalog.pg_class c on c.oid = reaching.relation
    where c.relkind in ('v', 'm') order by 1`,
    [schema, tables]
  )
  return rows.map(({ name }) => name)
}

/** Returns the error text for a listed view that reads as its owner. */
export function ownerViewProblem (name: string): string {
  return `the view ${name} reads as its owner, whom the policies of tenants do not bind: ` +
    `alter view ${name} set (security_invoker = true) (PostgreSQL 15 or newer), ` +
    'or take it from options.tables'
}
