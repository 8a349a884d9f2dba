import { named, type Family } from './finding.ts'
import { prelude } from './prelude.ts'

const ofUsers = `p.pronamespace not in ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
    and not exists (select from pg_depend e
      where e.classid = 'pg_proc'::regclass and e.objid = p.oid and e.deptype = 'e')`

/**
 * Functions, foreign tables and rules: objects that read tables with the rights or plan of
 * another.
 */
export const codeChecks: Family = {
  checks: {
    D203: {
      level: 'error',
      meaning: "the function runs as a role whom the tenants' policy does not bind, " +
        'and its caller gets what it reads'
    },
    D204: { level: 'warning', meaning: 'the function runs with the rights of its owner' },
    D205: {
      level: 'warning',
      meaning: "the trigger's function runs with the rights of its owner in the statements of tenants"
    },
    D206: {
      level: 'warning',
      meaning: 'a function that runs as its owner looks names up in the search path of its caller, ' +
        'who can put others there'
    },
    D207: {
      level: 'error',
      meaning: 'the function reads a setting and says that it always gives the same: ' +
        'a kept plan keeps the tenant that was first'
    },
    D208: {
      level: 'warning',
      meaning: 'the policy calls a function for each row instead of once, as in a sub-select'
    },
    D209: {
      level: 'error',
      meaning: "a leakproof function sees rows before the policy has sorted out other tenants'"
    },
    D210: {
      level: 'error',
      meaning: 'no policy can bind a foreign table: it shows the same rows to all tenants'
    },
    D211: {
      level: 'error',
      meaning: "a rule runs in the statements of tenants with the rights of the table's owner, " +
        'whom their policy does not bind'
    },
    D212: {
      level: 'warning',
      meaning: "a function that runs as its owner finds a temporary table of its caller's " +
        'before the table that it means'
    }
  },
  text: `${prelude}
functions as materialized (
  select p.*, p.oid::regprocedure as name, string_agg(distinct reach.name, ', ') as grantees
  from pg_proc p cross join lateral aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
  left join reach on reach.oid = a.grantee and a.privilege_type = 'EXECUTE'
  where (p.prosecdef or p.proleakproof or p.provolatile = 'i') and p.prokind in ('f', 'p', 'w')
    and ${ofUsers}
    and p.pronamespace is distinct from to_regnamespace('tenancy')::oid
  group by p.oid
),
-- Roles that the policy for the owner and the system lets through, and roles that bypass policies.
unbound as materialized (
  select r.oid from pg_roles r, input where r.rolsuper or r.rolbypassrls
    or exists (select from pg_roles b
      where b.rolname in (o->>'owner', o->>'system') and pg_has_role(r.oid, b.oid, 'USAGE'))
),
-- The texts of users' functions and views. Names in them that only look like calls count as calls.
bodies as materialized (
  select p.oid, lower(p.proname) as name, 'f' as kind, lower(pg_get_functiondef(p.oid)) as body
  from pg_proc p where p.prokind in ('f', 'p', 'w') and ${ofUsers}
  union all
  select r.oid, lower(r.relname), 'v', lower(pg_get_viewdef(r.oid)) from relations r
    where r.relkind in ('v', 'm')
),
called_names as materialized (
  select distinct b.oid, 'f' as kind, found[1] as name
    from bodies b, regexp_matches(b.body, '([[:alpha:]_][[:alnum:]_$]*)"?\\s*\\(', 'g') found
  union
  select distinct b.oid, 'v', found[1]
    from bodies b, regexp_matches(b.body,
      '\\m(?:from|join)\\s+(?:only\\s+)?(?:"?[[:alnum:]_$]+"?\\s*\\.\\s*)?"?([[:alpha:]_][[:alnum:]_$]*)',
      'g') found
),
-- Functions that read a setting, directly or through other functions, at any depth.
readers (oid) as (
  select oid from bodies
  where body ~ '\\m(current_setting|current_user|current_role|current_schema|current_schemas)\\M'
    or body ~ '\\m(session_user|verified_tenant|role_tenant)\\M' or body ~ '\\mshow\\s+tenancy\\M'
  union
  select n.oid from readers join bodies b on b.oid = readers.oid
    join called_names n on n.kind = b.kind and n.name = b.name
),
-- The names in a function's search_path, quoted as they are to be written.
paths as materialized (
  select f.oid, f.name, array(
    select trim(entry)
    from unnest(string_to_array(substr(setting, length('search_path=') + 1), ','))
      with ordinality entries (entry, place)
    where trim(entry) not in ('', '""') order by place) as path
  from functions f cross join lateral unnest(f.proconfig) setting
    where f.prosecdef and setting ~ '^search_path='
),
fired as (
  select f.oid, f.name, t.oid as trigger, r.oid as relation from functions f
  join pg_trigger t on t.tgfoid = f.oid and not t.tgisinternal join relations r on r.oid = t.tgrelid
  where f.prosecdef and r.list in ('tenant', 'shared', 'home')
)
select * from (
select case when proowner in (select oid from unbound) then 'D203' else 'D204' end as id, ${
    named('pg_proc', 'f.oid')
  } as object, format('revoke execute on function %s from %s', name, grantees) as fix
from functions f where prosecdef and grantees is not null and prorettype <> 'pg_catalog.trigger'::regtype
union all
select 'D205', ${
    named('pg_trigger', 'trigger')
  }, format('alter function %s security invoker', name) from fired
union all
select 'D206', ${
    named('pg_proc', 'f.oid')
  }, format('alter function %s set search_path = pg_catalog, %I, pg_temp', name,
    pronamespace::regnamespace::text)
from functions f
where prosecdef and (grantees is not null or oid in (select oid from fired))
  and not exists (select from unnest(proconfig) setting where setting ~ '^search_path=')
union all
select 'D207', ${named('pg_proc', 'f.oid')}, format('alter function %s stable', name)
from functions f where provolatile = 'i' and prokind = 'f' and oid in (select oid from readers)
union all
select 'D212', ${named('pg_proc', 'paths.oid')},
  format('alter routine %s set search_path = %s, pg_temp', paths.name, coalesce(nullif(array_to_string(array(
    select entry from unnest(path) with ordinality entries (entry, place)
      where entry not in ('pg_temp', '"pg_temp"') order by place), ', '), ''), 'pg_catalog'))
from paths join functions f on f.oid = paths.oid
where (f.grantees is not null or f.oid in (select oid from fired))
  and path[cardinality(path)] is distinct from 'pg_temp'
  -- These search paths find the server's own tables, and other tables only with a schema.
  and path <> '{}' and path <> '{pg_catalog}'
union all
select 'D208', ${named('pg_policy', 'p.oid')}, format('-- write (select %s(…)) in the policy', called.proname)
from pg_policy p join relations r on r.oid = p.polrelid
join pg_depend d on d.classid = 'pg_policy'::regclass and d.objid = p.oid
  and d.refclassid = 'pg_proc'::regclass
join pg_proc called on called.oid = d.refobjid
-- The policy's text without its sub-selects, which may nest three pairs of parentheses deep.
cross join lateral (select regexp_replace(
  concat(pg_get_expr(p.polqual, p.polrelid), ' ', pg_get_expr(p.polwithcheck, p.polrelid)),
  '\\( SELECT (?:[^()]|\\((?:[^()]|\\((?:[^()]|\\([^()]*\\))*\\))*\\))*\\)', '', 'g')) outside (text)
where r.list in ('tenant', 'partition', 'none') and called.prokind = 'f'
  and outside.text like '%' || quote_ident(called.proname) || '(%'
group by p.oid, called.proname
union all
select 'D209', ${named('pg_proc', 'f.oid')}, format('alter function %s not leakproof', name) from functions f
    where proleakproof and grantees is not null
union all
select 'D210', ${
    named('pg_class', 'g.oid')
  }, format('revoke all on table %s from %s', oid::regclass, string_agg(distinct grantee, ', '))
from grants g
where relkind = 'f' and list <> 'home' and privilege in ('SELECT', 'INSERT', 'UPDATE', 'DELETE') group by oid
union all
select 'D211', ${named('pg_rewrite', 'w.oid')}, format('drop rule %I on %s', w.rulename, r.oid::regclass)
from pg_rewrite w join relations r on r.oid = w.ev_class
where r.relkind in ('r', 'p') and r.list in ('tenant', 'shared', 'home')
) findings order by id, object`
}
