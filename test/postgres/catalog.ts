import type { SqlClient } from '@fastify-tenancy/postgres/client'

import { rolesAt } from '../support/sql.ts'

// One sorted line for each fact, without oids and without differences between PostgreSQL versions.
const queries: Readonly<Record<string, string>> = {
  roles: `select concat_ws(' ', rolname, case when rolcanlogin then 'login' end,
      case when rolinherit then 'inherit' end, case when rolsuper then 'superuser' end,
      case when rolbypassrls then 'bypassrls' end, case when rolcreaterole then 'createrole' end,
        case when rolreplication then 'replication' end) as line
    from pg_roles where rolname = any($1)`,
  schemas: `select nspname || grants.text as line from pg_namespace,
      lateral (select coalesce(string_agg(format(' [%s: %s]', case grantee when 0 then 'public'
        else pg_get_userbyid(grantee) end, privilege_type), ''
        order by pg_get_userbyid(grantee), privilege_type), '') as text
        from aclexplode(nspacl) where grantee = 0 or pg_get_userbyid(grantee) = any($1)) grants
    where nspname in ('public', 'tenancy')`,
  relations: `select format('%s.%s %s owner %s%s%s', nspname, relname, relkind, pg_get_userbyid(relowner),
      case when relrowsecurity then ' rls' end, case when relforcerowsecurity then ' forced' end)
      || grants.text as line
    from pg_class join pg_namespace n on n.oid = relnamespace,
      lateral (select coalesce(string_agg(format(' [%s: %s]', who, what), '' order by who), '') as text from (
        select case grantee when 0 then 'public' else pg_get_userbyid(grantee) end as who,
          string_agg(privilege_type, ' ' order by privilege_type) as what
        from aclexplode(relacl) where grantee <> relowner group by 1) g) grants
    where nspname in ('public', 'tenancy') and relkind in ('r', 'p', 'v', 'm', 'S')`,
  columns: `select format('%s.%s.%s %s%s%s', nspname, relname, attname, format_type(atttypid, atttypmod),
      case when attnotnull then ' not null' end, ' default ' || pg_get_expr(adbin, adrelid)) as line
    from pg_attribute join pg_class c on c.oid = attrelid join pg_namespace n on n.oid = relnamespace
      left join pg_attrdef on adrelid = attrelid and adnum = attnum
    where nspname in ('public', 'tenancy') and relkind in ('r', 'p') and attnum > 0 and not attisdropped`,
  constraints:
    `select format('%s %s %s', conrelid::regclass, conname, pg_get_constraintdef(pg_constraint.oid)) as line
    from pg_constraint join pg_namespace n on n.oid = connamespace
      where nspname in ('public', 'tenancy') and contype <> 'n' and conrelid <> 0`,
  indexes: "select indexdef as line from pg_indexes where schemaname in ('public', 'tenancy')",
  policies: `select format('%s %s to %s using (%s) with check (%s)', polrelid::regclass, polname,
      (select string_agg(pg_get_userbyid(role), ', ' order by pg_get_userbyid(role))
        from unnest(polroles) role), pg_get_expr(polqual, polrelid),
        pg_get_expr(polwithcheck, polrelid)) as line from pg_policy`,
  functions: `select format('%s owner %s %s%s%s %s', p.oid::regprocedure, pg_get_userbyid(proowner),
      case provolatile when 's' then 'stable' when 'v' then 'volatile' else 'immutable' end,
      case when prosecdef then ' definer' end, ' parallel ' || proparallel::text, proconfig)
        || grants.text as line
    from pg_proc p join pg_namespace n on n.oid = pronamespace,
      lateral (select coalesce(string_agg(format(' [%s]', case grantee when 0 then 'public'
        else pg_get_userbyid(grantee) end), '' order by pg_get_userbyid(grantee)), '') as text
        from aclexplode(coalesce(proacl, acldefault('f', proowner))) where grantee <> proowner) grants
    where nspname in ('public', 'tenancy')`,
  operators: `select format('%s %s restrict %s%s', o.oid::regoperator, oprcode, oprrest, case when oprcanhash
      or oprcanmerge or oprcom <> 0 or oprnegate <> 0 then ' WITH MORE' end) as line
    from pg_operator o join pg_namespace n on n.oid = oprnamespace where nspname = 'tenancy'`,
  triggers: 'select pg_get_triggerdef(oid) as line from pg_trigger where not tgisinternal',
  migrations: "select version || ' ' || name as line from tenancy.migrations"
}

/**
 * Returns what set-up creates in a database as text. Role names have no hash, so all databases
 * match.
 */
export async function dumpCatalog (client: SqlClient): Promise<string> {
  const names = Object.values(await rolesAt(client))
  const parts: string[] = []
  for (const [title, query] of Object.entries(queries)) {
    const { rows } = await client.query<{ line: string }>(query, query.includes('$1') ? [names] : [])
    parts.push(`# ${title}\n${rows.map(({ line }) => `${line}\n`).toSorted().join('')}`)
  }
  return parts.join('\n').replaceAll(/tenancy_(\w+)_[0-9a-f]{8}/g, 'tenancy_$1')
}
