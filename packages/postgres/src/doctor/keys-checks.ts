import { named, type Family } from './finding.ts'
import { given, prelude } from './prelude.ts'

/** Indexes, keys and columns of tenant tables, which policies do not cover. */
export const keyChecks: Family = {
  checks: {
    D121: {
      level: 'warning',
      meaning: 'without an index that the tenant column leads, ' +
        'each query reads the rows of all tenants to find its own'
    },
    D122: {
      level: 'warning',
      meaning:
        'no policy binds a unique key: a tenant learns that another has the value, and cannot have it too'
    },
    D123: {
      level: 'info',
      meaning: 'the key does not hold the tenant column: harmless while the database makes the values, ' +
        'and in the way of an import or a move'
    },
    D124: {
      level: 'warning',
      meaning:
        "no policy binds a foreign key: a row may refer to another tenant's row, and shows that it exists"
    },
    D125: {
      level: 'error',
      meaning:
        'a foreign key that acts on its own removes or changes rows of other tenants that refer to the row'
    },
    D126: { level: 'warning', meaning: 'a row without a tenant belongs to no tenant, and no tenant sees it' },
    D127: { level: 'info', meaning: 'the table has the tenant column and is in no list of options.tables' }
  },
  text: `${prelude}
tenant_tables as materialized (
  select r.oid, r.relname, a.attnum, a.attname, a.attnotnull
  from jsonb_each_text(${given}->'tenant') wanted (name, column_name)
  join relations r on r.list = 'tenant' and r.relname = wanted.name
  left join pg_attribute a on a.attrelid = r.oid and a.attname = wanted.column_name and a.attnum > 0
    and not a.attisdropped
),
-- The columns that identify a row's tenant: the tenant column, or a required key to a tenant table.
owners as materialized (
  select oid, array[attnum] as columns from tenant_tables where attnum is not null
  union all
  select child.oid, k.conkey from tenant_tables child
  join pg_constraint k on k.conrelid = child.oid and k.contype = 'f' and k.confrelid <> k.conrelid
    and k.confrelid in (select oid from tenant_tables)
  where child.attnum is null
),
uniques as materialized (
  select i.indexrelid, i.indrelid, i.indkey::int2[] as columns, k.conname, k.oid as constraint_oid
  from pg_index i join tenant_tables t on t.oid = i.indrelid
  left join pg_constraint k on k.conindid = i.indexrelid and k.conrelid = i.indrelid
    and k.contype in ('p', 'u', 'x')
  where (i.indisunique or i.indisexclusion)
    and not exists (select from owners where owners.oid = i.indrelid and owners.columns <@ i.indkey::int2[])
),
-- Keys that the database generates, so that no tenant can probe for a value. A key with an
-- expression is never such a key.
made as (
  select u.indexrelid from uniques u
  where not exists (
    select from unnest(u.columns) k (num)
      left join pg_attribute a on a.attrelid = u.indrelid and a.attnum = k.num
    left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
    where a.attnum is null
      or not (a.attidentity <> '' or coalesce(pg_get_expr(d.adbin, d.adrelid), '')
        ~ '^(nextval|(pg_catalog\\.|public\\.)?(gen_random_uuid|uuidv4|uuidv7|uuid_generate_v[147]\\w*))\\('))
),
foreign_keys as (
  select k.oid, k.conname, k.conrelid, k.confrelid, k.conkey, k.confkey, k.confdeltype, k.confupdtype,
    child.attname as mine, parent.attname as theirs
  from pg_constraint k join tenant_tables child on child.oid = k.conrelid
    join tenant_tables parent on parent.oid = k.confrelid
  where k.contype = 'f' and k.conparentid = 0
    -- A table without the column is written only through its parents' policies.
    and child.attnum is not null and parent.attnum is not null
    and not exists (select from unnest(k.conkey, k.confkey) pair (mine, theirs)
      where pair.mine = child.attnum and pair.theirs = parent.attnum)
)
select * from (
select 'D121' as id, ${
    named('pg_class', 't.oid')
  } as object, format('create index on %s (%I)', t.oid::regclass, attname) as fix
from tenant_tables t
where attnum is not null and not exists (
  select from pg_index i
  where i.indrelid = t.oid and i.indkey[0] = t.attnum and i.indpred is null and i.indisvalid)
union all
select case when indexrelid in (select indexrelid from made) then 'D123' else 'D122' end,
  case when constraint_oid is null then ${named('pg_class', 'indexrelid')} else ${
    named('pg_constraint', 'constraint_oid')
  } end,
  case when t.attnum is null
    then '-- put a column of the key to the parent table into it, '
      || 'with the same columns in the parent''s key'
  -- The foreign key of a table without a tenant column cannot include it, and the fix would drop
  -- it.
  when users.foreign_ones is not null
    then format('-- %s, which has no tenant column, refers to this key: '
      || 'give that table the tenant column, or drop that foreign key', users.foreign_ones)
  when conname is null
    then format('create unique index %1$I on %2$s; drop index %3$s; alter index %4$s rename to %5$I',
    left(x.relname, 55) || '_tenancy',
      regexp_replace(pg_get_indexdef(indexrelid), '^.*? ON (.*? USING \\w+ \\()',
      '\\1' || quote_ident(t.attname) || ', '),
    indexrelid::regclass,
      quote_ident(n.nspname) || '.' || quote_ident(left(x.relname, 55) || '_tenancy'), x.relname)
  -- One statement, so it fails as a whole if a foreign key references the key or its values do not
  -- fit.
  else format('alter table %1$s drop constraint %2$I, add constraint %2$I %3$s%4$s', indrelid::regclass,
    conname,
    regexp_replace(pg_get_constraintdef(constraint_oid),
      '^(PRIMARY KEY|UNIQUE( NULLS NOT DISTINCT)?|EXCLUDE USING \\w+) \\(',
      '\\1 (' || quote_ident(t.attname) || case when pg_get_constraintdef(constraint_oid) ~ '^EXCLUDE'
      then ' WITH =' else '' end || ', '),
    coalesce('; -- after the fixes of the foreign keys that refer to it: ' || users.own, '')) end
from uniques u join tenant_tables t on t.oid = u.indrelid
join pg_class x on x.oid = u.indexrelid join pg_namespace n on n.oid = x.relnamespace
cross join lateral (
  select string_agg(format('foreign key %I of %s', f.conname, f.conrelid::regclass), ', '
    order by f.conname) filter (where child.attnum is null) as foreign_ones,
    string_agg(f.conname, ', ' order by f.conname) filter (where child.attnum is not null) as own
  from pg_constraint f left join tenant_tables child on child.oid = f.conrelid
  where f.contype = 'f' and f.conparentid = 0 and f.confrelid = u.indrelid and f.conindid = u.indexrelid
) users
union all
select case when confdeltype in ('c', 'n', 'd') or confupdtype in ('c', 'n', 'd') then 'D125'
  else 'D124' end, ${named('pg_constraint', 'f.oid')},
  -- ON UPDATE takes no column list.
  case when confupdtype in ('n', 'd')
    then '-- ON UPDATE SET NULL or SET DEFAULT would act on the tenant column too: '
      || 'drop the action, then run tenancy doctor again'
  else concat_ws('; ',
    case when not exists (select
      from pg_index i, (select f.confkey || parent.attnum as wanted from tenant_tables parent
      where parent.oid = f.confrelid) w
      where i.indrelid = f.confrelid and i.indisunique and i.indpred is null
        and i.indkey::int2[] <@ w.wanted and w.wanted <@ i.indkey::int2[])
    then format('alter table %s add unique (%I, %s)', confrelid::regclass, theirs,
      (select string_agg(quote_ident(a.attname), ', ' order by place)
      from unnest(confkey) with ordinality u (num, place)
      join pg_attribute a on a.attrelid = confrelid and a.attnum = num)) end,
    format('alter table %1$s drop constraint %2$I, add constraint %2$I %3$s', conrelid::regclass, conname,
      -- SET NULL and SET DEFAULT would act on the tenant column too, unless they have a column
      -- list.
      regexp_replace(regexp_replace(regexp_replace(pg_get_constraintdef(f.oid), '^FOREIGN KEY \\(',
        'FOREIGN KEY (' || quote_ident(mine) || ', '), '(REFERENCES [^(]*)\\(',
        '\\1(' || quote_ident(theirs) || ', '),
        '(ON DELETE SET (?:NULL|DEFAULT))(?! \\()',
          '\\1 (' || (select string_agg(quote_ident(a.attname), ', ' order by place)
          from unnest(f.conkey) with ordinality u (num, place)
          join pg_attribute a on a.attrelid = f.conrelid and a.attnum = u.num) || ')'))) end
from foreign_keys f
union all
select 'D126',
  (select named.type || ' ' || named.identity
    from pg_identify_object('pg_class'::regclass, t.oid, t.attnum) named),
  format('alter table %s alter column %I set not null', t.oid::regclass, attname)
from tenant_tables t where not attnotnull
union all
select 'D127', ${named('pg_class', 'r.oid')}, '-- name it in options.tables.tenant, then run tenancy protect'
from input cross join relations r
  join pg_attribute a on a.attrelid = r.oid and not a.attisdropped and a.attnum > 0
where r.list = 'none' and r.relkind in ('r', 'p') and r.nspname = o->>'schema' and o->'columns' ? a.attname
) findings order by id, object`
}
