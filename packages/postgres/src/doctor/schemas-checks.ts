import { dependentsOf } from '../placement/dependents.ts'
import { named, type Family } from './finding.ts'
import { given, prelude } from './prelude.ts'

/** Compares the registry's tenants with the roles and schemas on this shard. */
export const schemaChecks: Family = {
  checks: {
    D501: {
      level: 'warning',
      meaning: 'the tenant is served from a schema that is not there: its requests fail'
    },
    D502: {
      level: 'info',
      meaning: 'the schema is of a tenant that the registry does not know, or has given up'
    },
    D503: {
      level: 'warning',
      meaning: 'most schemas of the same version have the table and this one does not: ' +
        "the tenant's queries fail"
    },
    D504: {
      level: 'warning',
      meaning: 'the version of the schema is unknown: the next migration can fail, or is missing'
    },
    D505: { level: 'info', meaning: 'the schema is behind the newest migration' },
    D506: {
      level: 'warning',
      meaning: "the tenant's role is not there, or the login for tenants' roles may not become it: " +
        'its requests fail'
    },
    D507: {
      level: 'info',
      meaning: "an object outside a tenant's schema depends on it: " +
        'a purge of that tenant, and the end of its move, is refused'
    }
  },
  reads: ['tenants', 'migrations'],
  text: `${prelude}
tenants as materialized (
  select * from jsonb_to_recordset(${given}->'tenants') t (id text, slug text, isolation text,
    status text, "schema" text, role text)
),
served as materialized (
  select t.*, homes.oid as home from tenants t
    left join homes on homes.name = t.schema and homes.tenant = t.id where t.status in ('active', 'suspended')
),
versions as materialized (
  select s.home, s.schema,
    coalesce((select array_agg(ledger.name order by ledger.name) from tenancy.migration_ledger ledger
      where ledger.tenant_id = s.id and ledger.applied_at is not null), '{}') as applied,
    array(select jsonb_array_elements_text(o->'migrations') name order by name) as known
  from input cross join served s where s.isolation = 'schema' and s.home is not null
),
tables as materialized (
  select v.home, v.applied, r.relname from versions v
    join relations r on r.nspname = v.schema and r.relkind in ('r', 'p')
),
usual as materialized (
  select t.applied, t.relname from tables t
  group by t.applied, t.relname
    having count(*) * 2 > (select count(*) from versions v where v.applied = t.applied)
)
select * from (
select 'D501' as id, format('schema %I of tenant %s', s.schema, s.id) as object,
  format('-- tenancy create %s --id %s', s.slug, s.id) as fix
from served s where s.isolation = 'schema' and s.home is null
union all
select 'D502', ${
    named('pg_namespace', 'homes.oid')
  }, format('-- drop schema %I cascade, when its rows are no longer needed', homes.name)
from homes where not exists (select from tenants t where t.id = homes.tenant)
union all
select 'D503', format('table %I of %s', u.relname, ${
    named('pg_namespace', 'v.home')
  }), format('-- create it as in the other schemas; tenancy status says what has run there')
from versions v join usual u on u.applied = v.applied
where not exists (select from tables t where t.home = v.home and t.relname = u.relname)
union all
select 'D504', ${named('pg_namespace', 'v.home')}, format('-- tenancy migrate --schema %I', v.schema)
from versions v where (v.known <> '{}' and not v.applied <@ v.known)
  or (v.applied = '{}' and exists (select from versions other where other.applied <> '{}'))
union all
select 'D505', ${named('pg_namespace', 'v.home')}, format('-- tenancy migrate --schema %I', v.schema)
from versions v where v.applied <@ v.known and not v.known <@ v.applied and v.applied <> '{}'
union all
select 'D506', 'role ' || quote_ident(s.role),
  case when r.oid is null then format('-- tenancy create %s --id %s', s.slug, s.id)
  else format('grant %I to %I%s', s.role, coalesce(o->>'rolesLogin', o->>'login'),
    case when current_setting('server_version_num')::int >= 160000 then ' with inherit false, set true'
    else '' end) end
from input cross join served s left join pg_roles r on r.rolname = s.role
  left join pg_roles login on login.rolname = coalesce(o->>'rolesLogin', o->>'login')
where s.role is not null and (r.oid is null or not (login.rolsuper or exists (
  select from pg_auth_members m where m.roleid = r.oid and m.member = login.oid)))
union all
select 'D507', d.what,
  format('-- drop it, or have it need nothing of schema %I, before that tenant goes', homes.name)
from (${
    dependentsOf("select homes.oid, 'pg_namespace'::regclass, homes.oid from homes")
  }) d join homes on homes.oid = d.space
) findings order by id, object`
}
