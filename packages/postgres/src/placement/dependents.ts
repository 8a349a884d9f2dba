import { tenantConflict } from '@fastify-tenancy/core/errors'

import type { SqlClient } from '../client/sql-client.ts'

/** Most objects in an error message. A dry run lists all. */
const mostNamed = 20

// The schema that an object belongs to: for a constraint, trigger, rule, default or policy, its
// table's schema. A foreign key's internal triggers on the referenced table belong to the key.
// Casts and transforms have no schema, and end with their types.
const place = `
  case d.classid
    when 'pg_class'::regclass then (select relnamespace from pg_class where oid = d.objid)
    when 'pg_type'::regclass then (select typnamespace from pg_type where oid = d.objid)
    when 'pg_proc'::regclass then (select pronamespace from pg_proc where oid = d.objid)
    when 'pg_constraint'::regclass then (select coalesce(c.relnamespace, t.typnamespace, k.connamespace)
      from pg_constraint k
      left join pg_class c on c.oid = k.conrelid left join pg_type t on t.oid = k.contypid
        where k.oid = d.objid)
    when 'pg_attrdef'::regclass then (select c.relnamespace from pg_attrdef a
      join pg_class c on c.oid = a.adrelid where a.oid = d.objid)
    when 'pg_trigger'::regclass then (select c.relnamespace from pg_trigger t
      left join pg_constraint k on k.oid = t.tgconstraint and t.tgisinternal
      join pg_class c on c.oid = coalesce(k.conrelid, t.tgrelid) where t.oid = d.objid)
    when 'pg_rewrite'::regclass then (select c.relnamespace from pg_rewrite r
      join pg_class c on c.oid = r.ev_class where r.oid = d.objid)
    when 'pg_policy'::regclass then (select c.relnamespace from pg_policy p
      join pg_class c on c.oid = p.polrelid where p.oid = d.objid)
    when 'pg_operator'::regclass then (select oprnamespace from pg_operator where oid = d.objid)
    when 'pg_opclass'::regclass then (select opcnamespace from pg_opclass where oid = d.objid)
    when 'pg_opfamily'::regclass then (select opfnamespace from pg_opfamily where oid = d.objid)
    when 'pg_amop'::regclass then (select f.opfnamespace from pg_amop a
      join pg_opfamily f on f.oid = a.amopfamily where a.oid = d.objid)
    when 'pg_amproc'::regclass then (select f.opfnamespace from pg_amproc a
      join pg_opfamily f on f.oid = a.amprocfamily where a.oid = d.objid)
    when 'pg_collation'::regclass then (select collnamespace from pg_collation where oid = d.objid)
    when 'pg_conversion'::regclass then (select connamespace from pg_conversion where oid = d.objid)
    when 'pg_ts_config'::regclass then (select cfgnamespace from pg_ts_config where oid = d.objid)
    when 'pg_ts_dict'::regclass then (select dictnamespace from pg_ts_dict where oid = d.objid)
    when 'pg_ts_parser'::regclass then (select prsnamespace from pg_ts_parser where oid = d.objid)
    when 'pg_ts_template'::regclass then (select tmplnamespace from pg_ts_template where oid = d.objid)
    when 'pg_statistic_ext'::regclass then (select stxnamespace from pg_statistic_ext where oid = d.objid)
    when 'pg_default_acl'::regclass then (select defaclnamespace from pg_default_acl where oid = d.objid)
    when 'pg_cast'::regclass then r.space
    when 'pg_transform'::regclass then r.space
    -- A publication's entry ends with the table; nothing else depends on it.
    when 'pg_publication_rel'::regclass then r.space
    when 'pg_publication_namespace'::regclass then r.space
    else 0::oid
  end`

/**
 * Returns SQL for the objects outside a schema that `drop … cascade` would also drop: rows of
 * `space` (the schema's oid) and `what`, such as `view public.report` or `table column
 * public.orders.mood`.
 *
 * @param first SQL for what is dropped: rows of the schema's oid, a catalog's oid, and an object's
 * oid
 */
export function dependentsOf (first: string): string {
  return `
    with recursive reached (space, classid, objid, subid, inside) as (
      select first.space::oid, first.classid::oid, first.objid::oid, 0, true
        from (${first}) first (space, classid, objid)
      union
      select r.space, d.classid, d.objid, case when place.inside then 0 else d.objsubid end, place.inside
      from reached r join pg_catalog.pg_depend d on d.refclassid = r.classid and d.refobjid = r.objid
      cross join lateral (
        select coalesce(${place} in (r.space, 'pg_toast'::regnamespace), false) as inside
      ) place
      where r.inside
    )
    select distinct r.space, coalesce(viewed.what, named.type || ' ' || named.identity) as what
    from reached r
    left join lateral (
      select case c.relkind when 'm' then 'materialized view ' else 'view ' end
        || pg_catalog.format('%I.%I', n.nspname, c.relname) as what
      from pg_catalog.pg_rewrite w join pg_catalog.pg_class c on c.oid = w.ev_class
        join pg_catalog.pg_namespace n on n.oid = c.relnamespace
      where r.classid = 'pg_rewrite'::regclass and w.oid = r.objid and c.relkind in ('v', 'm')) viewed on true
    cross join lateral pg_catalog.pg_identify_object(r.classid, r.objid, r.subid) named
    where not r.inside and named.identity is not null
    order by 2`
}

/** Returns the names of the objects outside a schema that dropping the schema would also drop. */
export async function readDependents (client: SqlClient, schema: string): Promise<string[]> {
  const { rows } = await client.query<{ what: string }>(
    dependentsOf("select oid, 'pg_namespace'::regclass, oid from pg_catalog.pg_namespace where nspname = $1"),
    [schema]
  )
  return rows.map(({ what }) => what)
}

/** Like {@link readDependents}, but for some relations of a schema, by their oids. */
export async function readDependentsOf (
  client: SqlClient,
  schema: string,
  relations: readonly string[]
): Promise<string[]> {
  const { rows } = await client.query<{ what: string }>(
    dependentsOf(
      `select n.oid, 'pg_class'::regclass, o.oid
      from pg_catalog.pg_namespace n cross join unnest($2::oid[]) o (oid) where n.nspname = $1`
    ),
    [schema, [...relations]]
  )
  return rows.map(({ what }) => what)
}

/**
 * @throws FST_TENANCY_TENANT_CONFLICT, which names the objects outside the schema that depend on
 * it
 */
export async function assertNoDependents (client: SqlClient, schema: string): Promise<void> {
  refuseDependents(schema, await readDependents(client, schema))
}

export function refuseDependents (schema: string, dependents: readonly string[]): void {
  if (dependents.length === 0) return
  const more = dependents.length > mostNamed ? ` and ${dependents.length - mostNamed} more` : ''
  throw tenantConflict(
    `objects outside schema '${schema}' depend on it, and are not dropped with it: ${
      dependents.slice(0, mostNamed).join(', ')
    }${more}; change or drop them, then call again`
  )
}
