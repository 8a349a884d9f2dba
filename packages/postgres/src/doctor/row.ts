import { named, type Family } from './finding.ts'
import { given, input } from './prelude.ts'

/** Functions that `row.functions` allows in queries, if rewriting alone separates tenants. */
export const rowChecks: Family = {
  checks: {
    D213: {
      level: 'error',
      meaning:
        'the server runs a condition that costs less first, so the function gets the rows of all tenants'
    }
  },
  text: `
with ${input},
-- A name without a schema is looked up in the tables' schema and in pg_catalog.
listed as (
  select distinct p.oid, p.procost from input
    cross join jsonb_array_elements_text(${given}->'functions') wanted (name)
  join pg_proc p on p.proname = regexp_replace(wanted.name, '^.*[.]', '') and p.prokind = 'f'
  join pg_namespace n on n.oid = p.pronamespace
  where case when wanted.name like '%.%' then n.nspname = regexp_replace(wanted.name, '[.].*$', '')
    else n.nspname in (o->>'schema', 'pg_catalog') end
),
-- The condition that the rewriting adds compares the tenant column by one of these functions.
predicate as (select min(procost) as cost from pg_proc where oid in (
  'texteq'::regproc, 'uuid_eq'::regproc, 'int4eq'::regproc, 'int8eq'::regproc))
select 'D213' as id, ${
    named('pg_proc', 'listed.oid')
  } as object, format('alter function %s cost 100', listed.oid::regprocedure) as fix,
  format('its cost is %s and that of the tenant predicate %s', procost, predicate.cost) as says
from listed, predicate where procost < predicate.cost order by object`
}
