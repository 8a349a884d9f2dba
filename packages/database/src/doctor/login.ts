import { named, type Family } from './finding.ts'
import { input, isTenantRole } from './prelude.ts'

/** What the application's login is, and what it may become: one injected `set_config('role', …)` becomes it. */
export const loginChecks: Family = {
  checks: {
    D301: { level: 'error', meaning: 'a superuser is bound by no policy and may become everybody' },
    D302: { level: 'error', meaning: 'no policy binds it, so that it sees and changes the rows of all tenants' },
    D303: { level: 'error', meaning: 'it can give itself other roles, or make some' },
    D304: { level: 'error', meaning: 'it can copy the whole server by replication' },
    D305: { level: 'warning', meaning: 'it can make databases, in which it may do everything' },
    D306: { level: 'warning', meaning: 'a statement that forgot its context runs on instead of being refused' },
    D307: { level: 'error', meaning: 'who owns a table can turn its policies off' },
    D308: { level: 'error', meaning: 'one injected statement takes the role, and does what that may' },
    D309: { level: 'warning', meaning: 'the application cannot connect' },
    D310: { level: 'warning', meaning: 'each new connection gets slow, by milliseconds from 500 roles on and by a third of a second at 10,000' },
    D311: { level: 'warning', meaning: 'a setting that isolation rests on begins as something else than the server\'s own' },
    D312: { level: 'error', meaning: 'a statement that forgot its context is that tenant\'s' }
  },
  text: `
with recursive ${input},
login as materialized (select r.* from pg_roles r, input where r.rolname = o->>'login'),
-- Up to 15, a membership is all: to inherit and to become. Who may grant a role may grant it to itself.
memberships as materialized (
  select m.member, m.roleid, grantor.rolname as grantor
  from pg_auth_members m join pg_roles grantor on grantor.oid = m.grantor
  where coalesce((to_jsonb(m)->>'set_option')::bool, true) or coalesce((to_jsonb(m)->>'inherit_option')::bool, true) or m.admin_option
),
allowed as materialized (
  select r.oid from pg_roles r, input where r.rolname in (o->>'app', o->>'sharedRole') or ${isTenantRole('r')}
),
-- No further than to the first role that it should not reach: behind that, everything may be.
walk (member, role, grantor, ok) as (
  select m.member, m.roleid, m.grantor, m.roleid in (select oid from allowed) from login join memberships m on m.member = login.oid where not login.rolsuper
  union
  select m.member, m.roleid, m.grantor, m.roleid in (select oid from allowed) from walk join memberships m on m.member = walk.role where walk.ok
),
acts as materialized (
  select r.* from pg_roles r where r.oid in (select oid from login union select role from walk where ok)
),
called as (select acts.*, quote_ident(rolname) as quoted, case when rolname = o->>'login' then 'the login ' else 'the role ' end || quote_literal(rolname) as says from acts, input)
select * from (
select 'D301' as id, ${named('pg_authid', 'oid')} as object, format('alter role %s nosuperuser', quoted) as fix, says || ' is a superuser' as says
from called where rolsuper
union all
select case attribute when 'BYPASSRLS' then 'D302' when 'CREATEROLE' then 'D303' when 'REPLICATION' then 'D304' else 'D305' end,
  ${named('pg_authid', 'oid')}, format('alter role %s no%s', quoted, lower(attribute)), format('%s has %s', says, attribute)
from called, lateral (values ('BYPASSRLS', rolbypassrls), ('CREATEROLE', rolcreaterole), ('REPLICATION', rolreplication), ('CREATEDB', rolcreatedb)) has (attribute, yes)
where yes and not rolsuper
union all
select 'D306', ${named('pg_authid', 'called.oid')},
  case when current_setting('server_version_num')::int >= 160000
  then format('grant %I to %s with inherit false, set true', app.rolname, quoted) else format('alter role %s noinherit', quoted) end,
  says || ' inherits the privileges of the application''s role'
from called, input, pg_roles app
where app.rolname = o->>'app' and called.rolname = o->>'login' and not called.rolsuper and pg_has_role(called.oid, app.oid, 'USAGE')
union all
select 'D307', ${named('pg_authid', 'oid')}, format('reassign owned by %s to %I', quoted, o->>'owner'), says || ' owns tables or other things of this database'
from called, input
where not rolsuper and (oid in (select relowner from pg_class) or oid in (select nspowner from pg_namespace) or oid in (select proowner from pg_proc)
  or oid = (select datdba from pg_database where datname = current_database()))
union all
select 'D308', format('role %s of %s', (pg_identify_object('pg_authid'::regclass, walk.role, 0)).identity, (pg_identify_object('pg_authid'::regclass, walk.member, 0)).identity),
  format('revoke %I from %I', target.rolname, member.rolname) || case when current_setting('server_version_num')::int >= 160000 then format(' granted by %I', grantor) else '' end,
  format('the login %L may become %L', o->>'login', target.rolname)
from input, walk join pg_roles target on target.oid = walk.role join pg_roles member on member.oid = walk.member where not ok
union all
select 'D309', 'role ' || quote_ident(o->>'login'), '-- run tenancy init with this login', format('there is no role %L', o->>'login') from input
where not exists (select from login)
union all
select 'D310', ${named('pg_authid', 'login.oid')}, '-- spread the tenants over shards, or use rls.context ''setting''', format('%s may become the roles of %s tenants', 'the login ' || quote_literal(login.rolname), count(*))
from login join memberships m on m.member = login.oid join pg_roles r on r.oid = m.roleid
where r.rolname ~ '^tenanth?_' group by login.oid, login.rolname having count(*) > 500
union all
select case when setting ~ '^tenancy\\.' then 'D312' else 'D311' end,
  format('setting %s of %s%s', setting, coalesce('role ' || quote_ident(r.rolname), 'every role'), case when s.setdatabase <> 0 then ' in this database' else '' end),
  case when s.setrole = 0 and s.setdatabase = 0 then format('alter role all reset %s', setting)
  when s.setrole = 0 then format('alter database %I reset %s', current_database(), setting)
  else format('alter role %I%s reset %s', r.rolname, case when s.setdatabase <> 0 then format(' in database %I', current_database()) else '' end, setting) end,
  format('%s is set for %s', setting, coalesce(quote_literal(r.rolname), 'everybody'))
from pg_db_role_setting s
cross join lateral (select split_part(entry, '=', 1) from unnest(s.setconfig) entry) settings (setting)
left join acts r on r.oid = s.setrole
where (s.setrole = 0 or r.oid is not null) and s.setdatabase in (0, (select oid from pg_database where datname = current_database()))
  and (setting in ('role', 'row_security', 'search_path', 'session_authorization') or setting ~ '^tenancy\\.')
) findings order by id, object`
}
