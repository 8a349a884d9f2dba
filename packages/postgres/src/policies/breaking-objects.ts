import type { SqlClient } from '../client/sql-client.ts'
import type { Roles } from '../roles/roles.ts'

/** An object that runs with the rights of its owner, and breaks if the owner loses a table. */
export interface BreakingObject {
  /** `view public.open_tasks`, as PostgreSQL names it. */
  readonly object: string
  readonly owner: string
  /** The necessary step before the table changes its owner. */
  readonly advice: string
}

/**
 * Returns the functions, triggers, views and materialized views that stop working if their owners
 * lose these tables. The catalog does not record which tables a function's text uses. So every
 * function counts whose text contains a table's name.
 */
export async function readBreaking (
  client: SqlClient,
  schema: string,
  tables: readonly string[],
  roles: Roles
): Promise<readonly BreakingObject[]> {
  if (tables.length === 0) return []
  const names = tables.map(name => name.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('|')
  const { rows } = await client.query<BreakingObject>(
    `
    with recursive chosen as materialized (
      select c.oid from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
      where n.nspname = $1 and c.relname = any($2)
    ), keepers as materialized (
      select r.oid from pg_catalog.pg_roles r where r.rolsuper or exists (
        select from pg_catalog.pg_roles ours
          where ours.rolname = any($3) and pg_catalog.pg_has_role(r.oid, ours.oid, 'USAGE'))
    ), reads (view, relation) as materialized (
      select distinct w.ev_class, d.refobjid from pg_catalog.pg_rewrite w
      join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_rewrite'::regclass and d.objid = w.oid
        and d.refclassid = 'pg_catalog.pg_class'::regclass and d.refobjid <> w.ev_class
    ), reaching (view) as (
      select view from reads where relation in (select oid from chosen)
      union select reads.view from reaching join reads on reads.relation = reaching.view
    ), functions as materialized (
      select p.oid, p.proowner from pg_catalog.pg_proc p
      where p.prosecdef and p.prokind in ('f', 'p') and p.proowner not in (select oid from keepers)
        and not exists (select from pg_catalog.pg_depend
          where classid = 'pg_catalog.pg_proc'::regclass and objid = p.oid and deptype = 'e')
        and pg_catalog.pg_get_functiondef(p.oid) ~* $4
    ), broken (catalog, oid, owner, advice) as (
      select 'pg_catalog.pg_class'::regclass, c.oid, c.relowner,
        case c.relkind when 'm' then 'drop it, or have the owner role refresh it'
          else 'set (security_invoker = true), or drop it' end
      from pg_catalog.pg_class c join reaching on reaching.view = c.oid
      where c.relkind in ('v', 'm') and c.relowner not in (select oid from keepers)
        and not coalesce((select option_value::bool from pg_catalog.pg_options_to_table(c.reloptions)
          where option_name = 'security_invoker'), false)
      union all
      select 'pg_catalog.pg_proc'::regclass, oid, proowner, 'make it security invoker, or drop it'
        from functions
      union all
      select 'pg_catalog.pg_trigger'::regclass, t.oid, f.proowner, 'its function stops working'
        from pg_catalog.pg_trigger t
      join functions f on f.oid = t.tgfoid where not t.tgisinternal and t.tgparentid = 0
    )
    select (select named.type || ' ' || named.identity
      from pg_catalog.pg_identify_object(catalog, oid, 0) named) as object,
      pg_catalog.pg_get_userbyid(owner)::text as owner, advice
    from broken order by 1`,
    [schema, tables, [roles.owner, roles.system], `\\m(${names})\\M`]
  )
  return rows
}
