/*
 * The common beginning of all checks. The search path is pg_catalog, so all names are the server's.
 * `o` is the input without its lists, because joining the lists to each table would be quadratic.
 *
 * reach      roles that SQL of the application can have: PUBLIC, its logins, their roles by design
 * relations  tables, views and sequences, and the list that each is in
 * grants     the privileges of roles in `reach` on them
 */

/** SQL for the whole input. */
export const given = '$1::jsonb'

export const input: string = `input as materialized
    (select ${given} - '{tenant,sharedTables,globalTables,tenants,moving,functions}'::text[] as o)`

/**
 * Returns SQL for whether a role is a tenant's role in this database: a member of one of two
 * groups.
 */
export function isTenantRole (role: string): string {
  return `(${role}.rolname ~ '^tenanth?_' and exists (
    select from pg_auth_members belongs join pg_roles groups on groups.oid = belongs.roleid, input
    where belongs.member = ${role}.oid and groups.rolname in (o->>'app', o->>'sharedRole')))`
}

// Without superusers, who may do everything anyway.
const reach: string = `reach (oid, name) as materialized (
  select 0::oid, 'public'
  union all
  select r.oid, quote_ident(r.rolname) from pg_roles r, input
  where not r.rolsuper and (r.rolname in (o->>'login', o->>'rolesLogin', o->>'app', o->>'sharedRole') or ${
  isTenantRole('r')
})
)`

/** Schemas of tenants, found by the comment that their creation leaves, with each schema's role. */
const homes: string = `homes (oid, name, tenant, role) as materialized (
  select n.oid, n.nspname, named.tenant,
    case when length('tenant_' || named.tenant || (o->>'suffix')) <= 63 then 'tenant_' || named.tenant
      || (o->>'suffix')
    else 'tenanth_' || substr(encode(sha256(convert_to(named.tenant, 'UTF8')), 'hex'), 1, 46)
      || (o->>'suffix') end
  from input cross join pg_namespace n
  join pg_description d on d.objoid = n.oid and d.classoid = 'pg_namespace'::regclass and d.objsubid = 0
  cross join lateral (select substr(d.description, length('fastify-tenancy: tenant ') + 1)) named (tenant)
  where d.description like 'fastify-tenancy: tenant _%'
)`

const relations: string = `listed (name, list) as materialized (
  select jsonb_object_keys(${given}->'tenant'), 'tenant'
  union all select jsonb_array_elements_text(${given}->'sharedTables'), 'shared'
  union all select jsonb_array_elements_text(${given}->'globalTables'), 'global'
), relations as materialized (
  select c.oid, c.relname, c.relkind, c.relowner, c.relacl, c.relrowsecurity, c.relforcerowsecurity,
    n.nspname, homes.role as home,
    case when n.nspname = 'tenancy' then 'ours' when homes.oid is not null then 'home'
      when c.relispartition then 'partition'
      else coalesce(listed.list, 'none') end as list
  from input cross join pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  left join homes on homes.oid = n.oid
  left join listed on n.nspname = o->>'schema' and listed.name = c.relname and c.relkind in ('r', 'p')
  where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
    and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
    and not exists (select from pg_depend e
      where e.classid = 'pg_class'::regclass and e.objid = c.oid and e.deptype = 'e')
)`

const grants: string = `grants as materialized (
  select r.oid, r.relname, r.relkind, r.nspname, r.list, r.home, reach.name as grantee,
    a.privilege_type as privilege
  from relations r cross join lateral aclexplode(r.relacl) a join reach on reach.oid = a.grantee
  where a.grantee <> r.relowner
  union
  select r.oid, r.relname, r.relkind, r.nspname, r.list, r.home, reach.name, a.privilege_type
  from pg_attribute column_of join relations r on r.oid = column_of.attrelid
    cross join lateral aclexplode(column_of.attacl) a join reach on reach.oid = a.grantee
  where column_of.attacl is not null and a.grantee <> r.relowner
)`

/** The beginning of a check's query, up to a comma. */
export const prelude: string = `with recursive ${[input, reach, homes, relations, grants].join(',\n')},`
