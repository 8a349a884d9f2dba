import { named, type Family } from './finding.ts'
import { given, prelude } from './prelude.ts'

/** Tenant tables and their policies, which must be exactly the pair that `protect` creates. */
export const tableChecks: Family = {
  checks: {
    D101: {
      level: 'error',
      meaning: 'row-level security is off, so a role that may read the table reads the rows of all tenants'
    },
    D102: {
      level: 'error',
      meaning: "row-level security is not forced, so that no policy binds the table's owner"
    },
    D103: {
      level: 'warning',
      meaning: 'the table has no policy for tenants: no tenant sees a row, ' +
        'and any policy that is added decides alone'
    },
    D104: {
      level: 'error',
      meaning: 'the table has policies and row-level security is off, so that they do nothing'
    },
    D105: { level: 'error', meaning: 'the policy lets every row through' },
    D106: { level: 'error', meaning: 'the policy does not ask whose the row is' },
    D107: {
      level: 'error',
      meaning: 'permissive policies are joined by OR: this one lets rows through ' +
        "that the tenant's own policy keeps back"
    },
    D108: { level: 'error', meaning: 'rows are written without a check of whose they are' },
    D109: { level: 'error', meaning: 'the policy is not the one that protect makes with these options' },
    D110: {
      level: 'warning',
      meaning: "without the policy of the owner and the system, a migration's UPDATE changes 0 rows " +
        'without an error, and a dump fails'
    },
    D111: {
      level: 'info',
      meaning: 'a restrictive policy narrows what tenants see, ' +
        'and protect refuses tables that have others than its own'
    },
    D112: {
      level: 'error',
      meaning: 'the table has neither the tenant column nor a required foreign key to a tenant table: ' +
        'nothing says whose its rows are'
    },
    D113: { level: 'info', meaning: 'options.tables names a table that does not exist' },
    D114: {
      level: 'warning',
      meaning: 'old code works on the table past its policies, as protect --stage observe lets it'
    }
  },
  text: `${prelude}
-- A table without the tenant column belongs to its parents' tenant: see childPredicate().
tenant_tables as materialized (
  select r.oid, r.relname, r.relrowsecurity, r.relforcerowsecurity, a.attnum, a.attname, t.typname
  from jsonb_each_text(${given}->'tenant') wanted (name, column_name)
  join relations r on r.list = 'tenant' and r.relname = wanted.name
  left join pg_attribute a on a.attrelid = r.oid and a.attname = wanted.column_name and a.attnum > 0
    and not a.attisdropped
  left join pg_type t on t.oid = a.atttypid
),
keys as materialized (
  select child.oid, k.conname, k.confrelid, child.relname,
    not bool_or(not mine.attnotnull) as required,
    string_agg(format('parent.%I = %s.%I', theirs.attname, child.oid::regclass, mine.attname), ' and '
      order by place) as pairs,
    string_agg(format('%s.%I is null', child.oid::regclass, mine.attname), ' or ' order by place) as nulls,
    -- PostgreSQL prints the parent's alias as parent_1 if the child table is named parent.
    string_agg(format('(%s.%I = %I.%I)', alias, theirs.attname, child.relname, mine.attname), ' AND '
      order by place) as shown_pairs,
    string_agg(format('(%I IS NULL)', mine.attname), ' OR ' order by place) as shown_nulls,
    count(*) as width, alias
  from tenant_tables child
  join pg_constraint k on k.conrelid = child.oid and k.contype = 'f' and k.confrelid <> k.conrelid
  join tenant_tables parent on parent.oid = k.confrelid
  cross join lateral unnest(k.conkey, k.confkey) with ordinality pair (mine, theirs, place)
  join pg_attribute mine on mine.attrelid = k.conrelid and mine.attnum = pair.mine
  join pg_attribute theirs on theirs.attrelid = k.confrelid and theirs.attnum = pair.theirs
  cross join lateral (select case child.relname when 'parent' then 'parent_1' else 'parent' end) named (alias)
  where child.attnum is null
  group by child.oid, child.relname, k.oid, k.conname, k.confrelid, alias
),
conditions as materialized (
  select keys.*, format('exists (select from %s parent where %s)', confrelid::regclass, pairs) as found,
    format('(EXISTS ( SELECT FROM %s %s WHERE %s))', confrelid::regclass, alias,
      case width when 1 then shown_pairs else '(' || shown_pairs || ')' end) as shown
  from keys
),
children as materialized (
  select oid, (array_agg(found order by conname) filter (where required))[1] as using_text,
    string_agg(case when required then found else format('(%s or %s)', nulls, found) end, ' and '
      order by conname) as check_text,
    (array_agg(shown order by conname) filter (where required))[1] as using_shown,
    case count(*) when 1 then min(shown) else '(' || string_agg(
      case when required then shown else format('(%s OR %s)', shown_nulls, shown) end, ' AND '
      order by conname) || ')' end as check_shown
  from conditions group by oid
),
wanted as materialized (
  select t.*, t.oid::regclass as name,
    coalesce(children.using_text,
      replace(expected.predicate, '"tenant column"', quote_ident(t.attname))) as using_text,
    coalesce(children.check_text,
      replace(expected.predicate, '"tenant column"', quote_ident(t.attname))) as check_text,
    coalesce(children.using_shown,
      replace(expected.shown, '"tenant column"', quote_ident(t.attname))) as using_shown,
    coalesce(children.check_shown,
      replace(expected.shown, '"tenant column"', quote_ident(t.attname))) as check_shown
  from input cross join tenant_tables t
  left join jsonb_to_recordset(o->'expected') expected (type text, predicate text, shown text)
    on expected.type = t.typname
  left join children on children.oid = t.oid and children.using_text is not null
),
mended as materialized (
  select wanted.*,
    format('alter table %s enable row level security; alter table %1$s force row level security',
      name) as secure,
    format('drop policy if exists tenancy_tenant on %1$s; create policy tenancy_tenant on %1$s '
      || 'to %2$I using (%3$s) with check (%4$s)', name, o->>'app', using_text, check_text) as tenant_policy,
    format('drop policy if exists tenancy_system on %1$s; create policy tenancy_system on %1$s '
      || 'to %2$I, %3$I using (true) with check (true)', name, o->>'owner', o->>'system') as system_policy
  from wanted, input
),
policies as materialized (
  select p.oid, p.polrelid, p.polname, p.polpermissive, p.polcmd, t.name, t.attnum, t.tenant_policy,
    t.system_policy,
    array(select r.rolname from pg_roles r where r.oid = any (p.polroles) order by 1)::text[] as to_roles,
    coalesce(shown.condition, 'true') as condition,
    coalesce(shown.checked, shown.condition, case p.polcmd when 'a' then 'true' end) as checked,
    using_shown, check_shown
  from mended t join pg_policy p on p.polrelid = t.oid
  cross join lateral (select regexp_replace(pg_get_expr(p.polqual, p.polrelid), '\\s+', ' ', 'g'),
    regexp_replace(pg_get_expr(p.polwithcheck, p.polrelid), '\\s+', ' ', 'g')) shown (condition, checked)
),
judged as materialized (
  select policies.*,
    polname = 'tenancy_tenant' and polpermissive and polcmd = '*' and to_roles = array[o->>'app']
      and condition = using_shown and checked = check_shown as is_tenants,
    polname = 'tenancy_system' and polpermissive and polcmd = '*' and condition = 'true' and checked = 'true'
      and to_roles = array(select unnest(array[o->>'owner', o->>'system']) order by 1) as is_systems,
    -- A policy must use the tenant column or a key. Any other condition says nothing about the
    -- tenant.
    exists (select from pg_depend d where d.classid = 'pg_policy'::regclass and d.objid = policies.oid
      and d.refclassid = 'pg_class'::regclass and d.refobjid = polrelid
      and (d.refobjsubid = policies.attnum or (policies.attnum is null and d.refobjsubid > 0))) as asks,
    -- The third policy of a table under observation, for roles that no tenant's statement can have.
    polname = 'tenancy_legacy' and polpermissive and condition = 'true' and to_roles <> '{}'
      and not exists (select from reach join pg_policy p on reach.oid = any (p.polroles)
        where p.oid = policies.oid) as is_legacy
  from policies, input
),
legacy as (
  select polrelid, name, (
    select max(day[1]) from regexp_matches(
      coalesce(obj_description(oid, 'pg_policy'), ''), '"(\\d{4}-\\d\\d-\\d\\d)"', 'g') day) as last_day
  from judged where is_legacy
),
faulty as (
  select judged.*, case
    when not polpermissive then 'D111'
    when condition = 'true' and polcmd <> 'a' then 'D105'
    when checked = 'true' and polcmd in ('*', 'a', 'w') then 'D108'
    when not asks then 'D106'
    when polname in ('tenancy_tenant', 'tenancy_system') then 'D109'
    else 'D107' end as id
  from judged where not is_tenants and not is_systems and not is_legacy
)
select * from (
select case when exists (select from pg_policy p where p.polrelid = t.oid) then 'D104'
  else 'D101' end as id, ${named('pg_class', 't.oid')} as object,
  concat_ws('; ', secure, tenant_policy, system_policy) as fix,
    case when (o->>'rewritten')::bool then 'info' end as level, null as says
from mended t, input where not relrowsecurity and using_text is not null
union all
select 'D102', ${named('pg_class', 't.oid')}, secure, case when (o->>'rewritten')::bool then 'info' end, null
from mended t, input
where relrowsecurity and not relforcerowsecurity and oid not in (select polrelid from legacy)
union all
select 'D103', ${named('pg_class', 't.oid')}, concat_ws('; ', tenant_policy, system_policy), null, null
from mended t
where relrowsecurity and using_text is not null
  and not exists (select from pg_policy p where p.polrelid = t.oid and p.polname = 'tenancy_tenant')
union all
select 'D110', ${named('pg_class', 't.oid')}, system_policy, null, null
from mended t where relrowsecurity and using_text is not null
  and exists (select from pg_policy p where p.polrelid = t.oid and p.polname = 'tenancy_tenant')
    and not exists (select from pg_policy p where p.polrelid = t.oid and p.polname = 'tenancy_system')
union all
select id, ${named('pg_policy', 'faulty.oid')},
  case polname when 'tenancy_tenant' then tenant_policy when 'tenancy_system' then system_policy
    else format('drop policy %I on %s', polname, name) end, null, null
from faulty
union all
select 'D112', ${
    named('pg_class', 't.oid')
  }, '-- add the tenant column, or name the table''s own in options.tables.tenant', null, null
    from mended t where using_text is null
union all
select 'D113', format('table %I.%I', o->>'schema', listed.name),
  '-- create it, or take it from options.tables', null, null
from input, listed
where not exists (select from relations r
  where r.nspname = o->>'schema' and r.relname = listed.name and r.list <> 'none')
union all
select 'D114', ${named('pg_class', 'legacy.polrelid')}, format('-- tenancy protect %s --stage enforce', name),
    case when last_day >= to_char(now(), 'YYYY-MM-DD') then 'info' end,
    'until ' || coalesce(last_day, 'an unknown day')
from legacy
) findings order by id, object`
}
