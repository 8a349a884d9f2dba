import { named, type Family } from './finding.ts'
import { prelude } from './prelude.ts'

/** Views that tenants may read and that read tenants' tables as their owner. */
export const viewChecks: Family = {
  checks: {
    D201: {
      level: 'error',
      meaning:
        "a view reads as its owner, whom the tenants' policy does not bind, and shows the rows of all tenants"
    },
    D202: {
      level: 'error',
      meaning: 'a materialized view holds rows of all tenants, and no policy binds it'
    }
  },
  text: `${prelude}
-- What each view reads, also through other views.
reads (view, relation) as (
  select distinct w.ev_class, d.refobjid
  from pg_rewrite w join relations v on v.oid = w.ev_class and v.relkind in ('v', 'm')
  join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = w.oid
    and d.refclassid = 'pg_class'::regclass and d.refobjid <> w.ev_class
),
reaches (view, relation) as (
  select view, relation from reads
  union
  select reaches.view, reads.relation from reaches join reads on reads.view = reaches.relation
),
open_views as (
  select v.oid, v.relkind, string_agg(distinct g.grantee, ', ') as grantees
  from relations v join grants g on g.oid = v.oid and g.privilege in ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
  where v.relkind in ('v', 'm') and exists (
    select from reaches join relations r on r.oid = reaches.relation
      where reaches.view = v.oid and r.list <> 'shared' and r.relkind in ('r', 'p', 'f', 'm')
      -- In a tenant's own schema, the view may read that schema's tables.
      and not (r.list = 'home' and r.home is not distinct from v.home))
  group by v.oid, v.relkind
)
select case relkind when 'v' then 'D201' else 'D202' end as id, ${
    named('pg_class', 'open_views.oid')
  } as object,
  case when relkind = 'v' and current_setting('server_version_num')::int >= 150000
    then format('alter view %s set (security_invoker = true)', oid::regclass)
    else format('revoke all on table %s from %s', oid::regclass, grantees) end as fix
from open_views
where relkind = 'm' or not coalesce((
  select option_value::bool from pg_class c, pg_options_to_table(c.reloptions)
  where c.oid = open_views.oid and option_name = 'security_invoker'), false)
order by id, object`
}
