/*
 * The catalog queries: flat queries whose results the client joins. They take 14 to 18 ms for 200
 * tables; one recursive query over foreign keys takes seconds. Names are found in pg_catalog alone.
 * Built-in objects have ids below 16384. The languages internal, c and sql are 12, 13 and 14;
 * pg_catalog is 11, the heap access method 2.
 */

/** Returns SQL for whether a function runs only code of the server or of a C library. */
const isCompiled = (language: string): string => `${language} in (12, 13)`

const relation = `
select c.oid::text, n.nspname::text as schema, c.relname::text as name, c.reltype::text as type,
  c.relkind in ('r', 'p') and c.relpersistence <> 't' and c.relam in (0, 2) as "isTable",
  c.oid in (select ev_class from pg_rewrite) as "hasRules",
  c.oid in (select tgrelid from pg_trigger where not tgisinternal or tgfoid >= 16384) as "hasTriggers",
  c.relname in (select relname from pg_class where relnamespace = 11) as "isHidden"
from pg_class c join pg_namespace n on n.oid = c.relnamespace`

/** The tables of a schema: all, or those with the given names. */
export const relationsOfSchema: string = `${relation} where n.nspname = $1 and c.relkind in ('r', 'p')
  and ($2::text[] is null or c.relname = any($2))`

export const relationsById: string = `${relation} where c.oid = any($1::oid[])`

export const columns: string = `
select attrelid::text as relation, array_agg(attname::text) as names,
  array_agg(distinct atttypid::text) as types
from pg_attribute where attrelid = any($1::oid[]) and attnum > 0 and not attisdropped group by attrelid`

/**
 * Expressions that a read (or its planner) may evaluate, and expressions that only a write
 * evaluates.
 */
export const expressions: string = `
select adrelid::text as relation, attgenerated = '' as "isOfWriting", adbin::text as tree
from pg_attrdef join pg_attribute on attrelid = adrelid and attnum = adnum where adrelid = any($1::oid[])
union all select conrelid::text, false, conbin::text from pg_constraint
  where conrelid = any($1::oid[]) and conbin is not null
union all select indrelid::text, false, tree from pg_index
  cross join lateral (values (indexprs::text), (indpred::text)) of_index (tree)
  where indrelid = any($1::oid[]) and tree is not null
union all select partrelid::text, false, partexprs::text from pg_partitioned_table
  where partrelid = any($1::oid[]) and partexprs is not null
union all select stxrelid::text, false, stxexprs::text from pg_statistic_ext
  where stxrelid = any($1::oid[]) and stxexprs is not null`

/** Foreign keys from and to these tables, and whether a change of the parent changes the child. */
export const keys: string = `
select conrelid::text as child, confrelid::text as parent,
  confdeltype in ('c', 'n', 'd') or confupdtype in ('c', 'n', 'd') as acts
from pg_constraint where contype = 'f' and (conrelid = any($1::oid[]) or confrelid = any($1::oid[]))`

export const inheritance: string = `
select inhrelid::text as child, inhparent::text as parent, relispartition as "isPartition"
from pg_inherits join pg_class on pg_class.oid = inhrelid
where inhparent = any($1::oid[]) or (relispartition and inhrelid = any($1::oid[]))`

/** Policies, and the tables that their sub-queries read. */
export const policies: string = `
select oid::text, polrelid::text as relation, array(
  select distinct found[1]
  from regexp_matches(concat(polqual::text, polwithcheck::text), ' :relid (\\d+)', 'g') found
) as reads from pg_policy where polrelid = any($1::oid[])`

/**
 * The parts of each type. A built-in type counts as it is; a user-defined type needs functions in C
 * or internal.
 */
export const types: string = `
select t.oid::text, t.typnamespace = 11 and t.oid < 16384 as "isBuiltIn", t.typtype::text as kind,
  array(
    select t.typelem::text where t.typelem <> 0
      and (t.typsubscript = 'array_subscript_handler'::regproc or t.oid >= 16384)
    union all select rngsubtype::text from pg_range where t.oid in (rngtypid, rngmultitypid)
    union all select atttypid::text from pg_attribute
      where t.typtype = 'c' and attrelid = t.typrelid and attnum > 0 and not attisdropped
  ) as parts,
  not exists (
    select from pg_proc p where not ${isCompiled('p.prolang')} and (
      p.oid in (t.typinput, t.typoutput, t.typreceive, t.typsend, t.typmodin, t.typmodout, t.typsubscript)
      or p.oid in (select rngcanonical from pg_range where t.oid in (rngtypid, rngmultitypid))
      or p.oid in (select rngsubdiff from pg_range where t.oid in (rngtypid, rngmultitypid))
    )
  ) as "isCompiled"
from pg_type t where t.oid = any($1::oid[])`

/*
 * Types on which a cast, an operator class or an operator family runs user-defined code. Of a cast
 * between a built-in type and another type only the other counts, because no expression uses the
 * cast without it.
 */
export const taintedTypes: string = `
select distinct type::text as oid, type < 16384 as "isBuiltIn" from (
  select type from pg_cast join pg_proc p on p.oid = castfunc
    cross join unnest(array[castsource, casttarget]) of_cast (type)
    where pg_cast.oid >= 16384 and not ${isCompiled('p.prolang')}
    and (type >= 16384 or greatest(castsource, casttarget) < 16384)
  union all select unnest(array[opcintype, amoplefttype, amoprighttype]) from pg_amop o
    join pg_operator on pg_operator.oid = amopopr join pg_proc p on p.oid = oprcode
    join pg_opclass on opcfamily = amopfamily
    where o.oid >= 16384 and not ${isCompiled('p.prolang')}
  union all select unnest(array[opcintype, amproclefttype, amprocrighttype]) from pg_amproc a
    join pg_proc p on p.oid = amproc join pg_opclass on opcfamily = amprocfamily
    where a.oid >= 16384 and not ${isCompiled('p.prolang')}
) tainted where type <> 0`

/*
 * The user-defined objects that a call or an operator of a listed name could mean instead of a
 * built-in one. Types are included: if no function fits exactly, a call by the name of a type is a
 * cast. A cast to a domain runs the domain's checks.
 */
export const functions: string = `
select nspname::text as schema, proname::text as name, p.proargtypes::oid[]::text[] as types,
  ${isCompiled('prolang')} and (prokind <> 'a' or not exists (
    select from pg_aggregate a
    join pg_proc s on s.oid in (aggtransfn, aggfinalfn, aggcombinefn, aggserialfn, aggdeserialfn,
      aggmtransfn, aggminvtransfn, aggmfinalfn)
    where a.aggfnoid = p.oid and not ${isCompiled('s.prolang')}
  )) as "isCompiled"
from pg_proc p join pg_namespace n on n.oid = pronamespace
where proname = any($1) and (p.oid >= 16384 or pronamespace = 11 and prolang not in (12, 13, 14))
union all select nspname::text, typname::text, '{}', false
from pg_type t join pg_namespace n on n.oid = typnamespace
where typname = any($1) and t.oid >= 16384 and typrelid = 0`

export const operators: string = `
select nspname::text as schema, oprname::text as name, array[oprleft, oprright]::text[] as types,
  coalesce(${isCompiled('prolang')}, false) as "isCompiled"
from pg_operator o join pg_namespace n on n.oid = oprnamespace left join pg_proc p on p.oid = oprcode
where oprname = any($1) and o.oid >= 16384`

/**
 * The names by which \`item.name\` can be a call: functions that accept one argument, and types.
 */
export const calls: string = `
select nspname::text as schema, array_agg(distinct name) as names from (
  select pronamespace as space, proname::text as name from pg_proc
    where pronargs >= 1 and pronargs - pronargdefaults <= 1
  union all select typnamespace, typname::text from pg_type where typrelid = 0
) named join pg_namespace n on n.oid = space where $1 = (nspname = 'pg_catalog') group by nspname`

/** Which of these functions a stored expression may call. */
export const allowedFunctions: string = `
select p.oid::text from pg_proc p where p.oid = any($1::oid[]) and case when p.oid < 16384
  then pronamespace = 11 and prolang in (12, 14) and (proname = any($2)
    or p.oid in (select castfunc from pg_cast where oid < 16384)
    or p.oid in (select oprcode from pg_operator where oid < 16384))
  else prolang = 13 and regexp_replace(probin, '^\\$libdir/', '') = any($3) end`

/**
 * Which of these operators a stored expression may use. $2 lists the functions that it may call.
 */
export const allowedOperators: string = `
select oid::text from pg_operator where oid = any($1::oid[])
and case when oid < 16384 then oprnamespace = 11 else oprcode::oid = any($2::oid[]) end`

/** The functions behind operators. */
export const operatorFunctions: string =
  'select distinct oprcode::oid::text as oid from pg_operator where oid = any($1::oid[]) and oid >= 16384'

/**
 * The result columns of user-defined functions; null for one value, whose column is named like the
 * item.
 */
export const results: string = `
select proname::text as name, case
  when 'o' = any(proargmodes) or 'b' = any(proargmodes) or 't' = any(proargmodes)
    then array(select coalesce(proargnames[place], '')
      from unnest(proargmodes) with ordinality mode (mode, place) where mode.mode in ('o', 'b', 't'))
  when typtype = 'c' then array(select attname::text from pg_attribute
    where attrelid = typrelid and attnum > 0 and not attisdropped)
  end as columns
from pg_proc join pg_type on pg_type.oid = prorettype where proname = any($1)`
