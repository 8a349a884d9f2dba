import { counts, largeObjects, signals, statements, texts } from '../roles/harden.ts'
import { named, type Family } from './finding.ts'
import { prelude } from './prelude.ts'

const reading = "'SELECT', 'INSERT', 'UPDATE', 'DELETE'"

/** Privileges of the application's login and roles, of tenants' roles, and of PUBLIC. */
export const privilegeChecks: Family = {
  checks: {
    D401: { level: 'warning', meaning: 'a statement that forgot its context is not refused' },
    D402: { level: 'error', meaning: 'TRUNCATE asks no policy: it removes the rows of all tenants' },
    D403: { level: 'warning', meaning: 'a foreign key to the table tells which values other tenants have' },
    D404: { level: 'error', meaning: 'a trigger runs in the statements of others, with their rights' },
    D405: {
      level: 'error',
      meaning: 'a table that options.tables does not give to tenants shows the same rows to all of them'
    },
    D406: { level: 'error', meaning: 'a table that all tenants read can be changed by one of them' },
    D407: {
      level: 'error',
      meaning: 'read by its own name, a partition is not under the policy of its table'
    },
    D408: { level: 'error', meaning: 'each new table is open to tenants before anything protects it' },
    D409: { level: 'warning', meaning: 'each new sequence is open to tenants' },
    D410: {
      level: 'warning',
      meaning: 'the sequence tells how many rows all tenants have, or can be set back'
    },
    D411: {
      level: 'error',
      meaning: "the registry, the keys and the journal in schema tenancy are not the application's"
    },
    D412: { level: 'error', meaning: "a tenant's schema is open to others than its own role" },
    D413: {
      level: 'warning',
      meaning: 'injected SQL can put objects of its own where others look for theirs'
    },
    D414: { level: 'warning', meaning: 'the application can make schemas of its own' },
    D415: {
      level: 'info',
      meaning: 'injected SQL can make temporary tables, which stay on the connection for the next tenant'
    },
    D416: { level: 'info', meaning: 'contexts are not signed, so that injected SQL can name another tenant' },
    D417: {
      level: 'info',
      meaning: 'functions that run a text as a query make one injected expression as good as a statement'
    },
    D418: { level: 'info', meaning: 'injected SQL can end the statements and connections of other tenants' },
    D419: {
      level: 'info',
      meaning: 'large objects belong to the role that all tenants share, and no policy binds them'
    },
    D420: {
      level: 'warning',
      meaning: 'MAINTAIN lets a tenant lock the table against all others, and rebuild it'
    },
    D421: {
      level: 'warning',
      meaning:
        'the registry has a login of its own, and SQL of tenants can still look tenants up by their names'
    },
    D422: {
      level: 'info',
      meaning: "injected SQL that takes the login's own role reads the texts of other tenants' statements, " +
        'and what the session has prepared'
    },
    D423: {
      level: 'info',
      meaning: 'injected SQL reads how many rows, changes and bytes the tables of all tenants have'
    },
    D424: {
      level: 'info',
      meaning: 'no privilege hides the estimates of rows and pages in pg_class, nor which locks are held: ' +
        'they tell of all tenants together'
    }
  },
  text: `${prelude}
faults as (
  select g.oid, g.relkind, g.grantee, g.privilege, case
    when list = 'ours' then case when relkind <> 'S' then 'D411' end
    when list = 'home' then case when g.grantee <> quote_ident(home) then 'D412' end
    when relkind = 'S' then case when privilege <> 'USAGE' then 'D410' end
    when privilege = 'TRUNCATE' then 'D402'
    when privilege = 'REFERENCES' then 'D403'
    when privilege = 'TRIGGER' then 'D404'
    when privilege = 'MAINTAIN' then 'D420'
    when privilege not in (${reading}) then null
    when relkind not in ('r', 'p') then null
    when list in ('none', 'global') then 'D405'
    when list = 'partition' then 'D407'
    when list = 'shared' and privilege <> 'SELECT' then 'D406'
    when g.grantee in ('public', quote_ident(o->>'login'), quote_ident(o->>'rolesLogin'))
      then 'D401' end as id
  from grants g, input
),
defaults as (
  select d.oid, d.defaclrole, d.defaclnamespace, d.defaclobjtype,
    string_agg(distinct reach.name, ', ') as grantees
  from pg_default_acl d cross join lateral aclexplode(d.defaclacl) a join reach on reach.oid = a.grantee
    left join homes on homes.oid = d.defaclnamespace
  where d.defaclobjtype in ('r', 'S') and a.grantee <> d.defaclrole
    and reach.name is distinct from quote_ident(homes.role)
  group by d.oid, d.defaclrole, d.defaclnamespace, d.defaclobjtype
),
schemas as (
  select n.oid, n.nspname, reach.name as grantee, a.privilege_type as privilege, homes.role as home
  from pg_namespace n cross join lateral aclexplode(n.nspacl) a join reach on reach.oid = a.grantee
    left join homes on homes.oid = n.oid
  where n.nspname !~ '^pg_(toast|temp)' and a.grantee <> n.nspowner
),
-- A database without grants has the server's default: CONNECT and TEMPORARY for PUBLIC.
databases as (
  select d.oid, d.datname, reach.name as grantee, a.privilege_type as privilege
  from pg_database d cross join lateral aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
    join reach on reach.oid = a.grantee
  where d.datname = current_database() and a.grantee <> d.datdba
),
functions as (
  select risk.id, p.oid, reach.name as grantee
  from (values ${risks()}) risk (id, name)
    join pg_proc p on p.proname = risk.name and p.pronamespace = 'pg_catalog'::regnamespace
  cross join lateral aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
    join reach on reach.oid = a.grantee
  where a.privilege_type = 'EXECUTE' and (p.proname <> 'ts_rewrite' or p.pronargs = 2)
)
select * from (
select id, ${
    named('pg_class', 'faults.oid')
  } as object, format('revoke %s on %s %s from %s', string_agg(distinct privilege, ', '),
  case when min(relkind::text) = 'S' then 'sequence' else 'table' end, oid::regclass,
    string_agg(distinct grantee, ', ')) as fix
from faults where id is not null group by id, oid
union all
select case defaclobjtype when 'S' then 'D409' else 'D408' end,
  (select named.type || ' ' || named.identity
    from pg_identify_object('pg_default_acl'::regclass, defaults.oid, 0) named),
  format('alter default privileges for role %s%s revoke all on %s from %s', defaclrole::regrole,
    case when defaclnamespace <> 0 then ' in schema ' || defaclnamespace::regnamespace else '' end,
    case defaclobjtype when 'S' then 'sequences' else 'tables' end, grantees)
from defaults
union all
select case when privilege = 'CREATE' then 'D413' else 'D412' end, ${
    named('pg_namespace', 'schemas.oid')
  }, format('revoke %s on schema %I from %s', privilege, nspname, string_agg(distinct grantee, ', '))
from schemas where privilege = 'CREATE' or grantee <> quote_ident(home) group by oid, nspname, privilege
union all
select case privilege when 'CREATE' then 'D414' else 'D415' end, ${
    named('pg_database', 'databases.oid')
  }, format('revoke %s on database %I from %s', privilege, datname, string_agg(distinct grantee, ', '))
  -- Like \`init --harden\`: PUBLIC loses the privilege, and the owner keeps it.
  || case when privilege = 'TEMPORARY' then format('; grant temporary on database %I to %I', datname,
    o->>'owner') else '' end
from databases, input where privilege in ('CREATE', 'TEMPORARY') group by oid, datname, privilege, o
union all
select 'D416', 'options.rls.secret', '-- set rls.secret, then run tenancy init and tenancy protect' from input
where not (o->>'signed')::bool and exists (select from listed where list = 'tenant')
union all
select 'D421', ${
    named('pg_proc', 'p.oid')
  }, format('revoke execute on function %s from %s', p.oid::regprocedure,
    string_agg(distinct reach.name, ', '))
from input cross join pg_proc p
  cross join lateral aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
  join reach on reach.oid = a.grantee
where p.pronamespace = to_regnamespace('tenancy')::oid
  and p.proname in ('tenant_by_slug', 'tenant_by_domain', 'tenant_by_id')
  and o->>'registryLogin' is not null and reach.name <> quote_ident(o->>'registryLogin') group by p.oid
union all
select id, 'functions of database ' || quote_ident(current_database()),
  format('revoke execute on function %s from %s',
    string_agg(distinct 'pg_catalog.' || oid::regprocedure, ', '), string_agg(distinct grantee, ', '))
  || case when id in ('D418', 'D422', 'D423') then format('; grant execute on function %s to %I%s',
    string_agg(distinct 'pg_catalog.' || oid::regprocedure, ', '),
    o->>'owner', case id when 'D418' then '' else ', pg_read_all_stats' end) else '' end
from functions, input group by id, o
union all
select 'D424', 'statistics of database ' || quote_ident(current_database()),
  '-- use strategy database for tenants from whom this is to be hidden'
where exists (select from listed where list = 'tenant')
) findings order by id, object`
}

// The functions that `init --harden` revokes from PUBLIC, without set_config, which sets contexts.
function risks (): string {
  const named = { D417: texts, D418: signals, D419: largeObjects, D422: statements, D423: counts }
  return Object.entries(named).flatMap(([id, names]) => names.map(name => `('${id}', '${name}')`)).join(', ')
}
