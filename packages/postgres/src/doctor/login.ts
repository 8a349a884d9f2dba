import { named, type Family } from './finding.ts'
import { given, input, isTenantRole } from './prelude.ts'

/** The application's logins, and the roles that an injected `set_config('role', …)` could set. */
export const loginChecks: Family = {
  checks: {
    D301: { level: 'error', meaning: 'a superuser is bound by no policy and may become every role' },
    D302: {
      level: 'error',
      meaning: 'no policy binds it, so that it sees and changes the rows of all tenants'
    },
    D303: { level: 'error', meaning: 'it can give itself other roles, or make some' },
    D304: { level: 'error', meaning: 'it can copy the whole server by replication' },
    D305: { level: 'warning', meaning: 'it can make databases, in which it may do everything' },
    D306: {
      level: 'warning',
      meaning: 'a statement that forgot its context runs on instead of being refused'
    },
    D307: { level: 'error', meaning: 'the owner of a table can turn its policies off' },
    D308: { level: 'error', meaning: 'one injected statement takes the role, and does what that may' },
    D309: { level: 'warning', meaning: 'the application cannot connect' },
    D310: {
      level: 'warning',
      meaning: 'each new connection gets slow, by milliseconds from 500 roles on ' +
        'and by a third of a second at 10,000'
    },
    D311: {
      level: 'warning',
      meaning: "a setting that isolation rests on begins as something else than the server's own"
    },
    D312: { level: 'error', meaning: "a statement that forgot its context is that tenant's" },
    D313: {
      level: 'warning',
      meaning: 'SQL injected into the statement of a tenant of signed rls takes the role of a tenant ' +
        'with a schema, and reads it'
    },
    D314: {
      level: 'warning',
      meaning:
        'each new connection begins with this value, and a function of the application may have left it'
    }
  },
  text: `
with recursive ${input},
-- The use of each login. A user with several uses is checked for each of them.
logins as materialized (
  select given.use, r.* from input
  cross join lateral (values ('app', o->>'login'), ('tenantRoles', o->>'rolesLogin'),
    ('global', o->>'globalLogin')) given (use, name)
  join pg_roles r on r.rolname = given.name
),
-- Before PostgreSQL 16, a membership implies INHERIT and SET. ADMIN OPTION lets a role grant it to
-- itself.
memberships as materialized (
  select m.member, m.roleid, grantor.rolname as grantor
  from pg_auth_members m join pg_roles grantor on grantor.oid = m.grantor
  where coalesce((to_jsonb(m)->>'set_option')::bool, true)
    or coalesce((to_jsonb(m)->>'inherit_option')::bool, true) or m.admin_option
),
tenant_roles as materialized (
  select r.oid, r.rolname, exists (
    select from pg_auth_members m join pg_roles g on g.oid = m.roleid, input
      where m.member = r.oid and g.rolname = o->>'sharedRole') as has_schema
  from pg_roles r, input where ${isTenantRole('r')}
),
-- The direct roles of each login, then the roles of those. D313 checks tenant roles at the login of
-- \`url\`.
allowed (use, is_direct, oid) as materialized (
  select use, is_direct, r.oid from input
  cross join lateral (values ('app', true, o->>'app'), ('app', false, o->>'app'),
    ('app', false, o->>'sharedRole'), ('tenantRoles', false, o->>'app'),
    ('tenantRoles', false, o->>'sharedRole'), ('global', true, o->>'globalRole')) rule (use, is_direct, name)
  join pg_roles r on r.rolname = rule.name
  union all
  select use, true, tenant_roles.oid from tenant_roles
    cross join (values ('app'), ('tenantRoles')) given (use)
),
-- Stops at the first role that is not allowed, because everything behind it is reachable too.
walk (use, member, role, grantor, ok) as (
  select logins.use, m.member, m.roleid, m.grantor,
    (logins.use, true, m.roleid) in (select use, is_direct, oid from allowed)
  from logins join memberships m on m.member = logins.oid where not logins.rolsuper
  union
  select walk.use, m.member, m.roleid, m.grantor,
    (walk.use, false, m.roleid) in (select use, is_direct, oid from allowed)
  from walk join memberships m on m.member = walk.role where walk.ok
),
acts as materialized (
  select use, r.* from (select use, oid from logins union select use, role from walk where ok) who
    join pg_roles r on r.oid = who.oid
),
called as (
  select acts.*, quote_ident(rolname) as quoted, acts.oid in (select oid from logins) as is_login,
    case when acts.oid in (select oid from logins) then 'the login ' else 'the role ' end
      || quote_literal(rolname) as says
  from acts
)
select * from (
select use, 'D301' as id, ${
    named('pg_authid', 'oid')
  } as object, format('alter role %s nosuperuser', quoted) as fix, says || ' is a superuser' as says,
    null as level
from called where rolsuper
union all
select use,
  case attribute when 'BYPASSRLS' then 'D302' when 'CREATEROLE' then 'D303'
    when 'REPLICATION' then 'D304' else 'D305' end,
  ${
    named('pg_authid', 'oid')
  }, format('alter role %s no%s', quoted, lower(attribute)), format('%s has %s', says, attribute), null
from called, lateral (values ('BYPASSRLS', rolbypassrls), ('CREATEROLE', rolcreaterole),
  ('REPLICATION', rolreplication), ('CREATEDB', rolcreatedb)) has (attribute, yes)
where yes and not rolsuper
union all
select called.use, 'D306', ${named('pg_authid', 'called.oid')},
  case when current_setting('server_version_num')::int >= 160000
  then format('grant %s to %s with inherit false, set true',
    string_agg(distinct quote_ident(r.rolname), ', '), quoted)
    else format('alter role %s noinherit', quoted) end,
  says || case when bool_or(r.rolname = o->>'app') then ' inherits the privileges of the application''s role'
    else format(' inherits the privileges of the role %L', min(r.rolname)) end, null
from called cross join input
  join walk on walk.member = called.oid and walk.use = called.use and walk.ok
  join pg_roles r on r.oid = walk.role
where called.is_login and not called.rolsuper and pg_has_role(called.oid, r.oid, 'USAGE')
group by called.use, called.oid, quoted, says
union all
select use, 'D307', ${named('pg_authid', 'oid')}, format('reassign owned by %s to %I', quoted, o->>'owner'),
    says || ' owns tables or other things of this database', null
from called, input
where not rolsuper and (oid in (select relowner from pg_class)
  or oid in (select nspowner from pg_namespace) or oid in (select proowner from pg_proc)
  or oid = (select datdba from pg_database where datname = current_database()))
union all
select walk.use, 'D308',
  format('role %s of %s', (pg_identify_object('pg_authid'::regclass, walk.role, 0)).identity,
    (pg_identify_object('pg_authid'::regclass, walk.member, 0)).identity),
  format('revoke %I from %I', target.rolname, member.rolname)
    || case when current_setting('server_version_num')::int >= 160000
      then format(' granted by %I', grantor) else '' end,
  format('the login %L may become %L', logins.rolname, target.rolname), null
from walk join logins on logins.use = walk.use join pg_roles target on target.oid = walk.role
  join pg_roles member on member.oid = walk.member
where not ok
union all
select use, 'D309', 'role ' || quote_ident(name), '-- run tenancy init with this login',
  format('there is no role %L', name), null
from input cross join lateral (values ('app', o->>'login'), ('tenantRoles', o->>'rolesLogin'),
  ('global', o->>'globalLogin')) given (use, name)
where name is not null and not exists (select from logins where logins.use = given.use)
union all
select logins.use, 'D310', ${
    named('pg_authid', 'logins.oid')
  }, '-- spread the tenants over shards, or use rls.context ''setting''',
    format('%s may become the roles of %s tenants', 'the login ' || quote_literal(logins.rolname),
    count(*)), null
from logins join memberships m on m.member = logins.oid join pg_roles r on r.oid = m.roleid
where r.rolname ~ '^tenanth?_' group by logins.use, logins.oid, logins.rolname having count(*) > 500
union all
select use,
  case when setting ~ '^tenancy\\.' then 'D312'
    when setting in ('role', 'row_security', 'search_path', 'session_authorization') then 'D311'
    else 'D314' end,
  format('setting %s of %s%s', setting, coalesce('role ' || quote_ident(r.rolname), 'every role'),
    case when s.setdatabase <> 0 then ' in this database' else '' end),
  case when s.setrole = 0 and s.setdatabase = 0 then format('alter role all reset %s', setting)
  when s.setrole = 0 then format('alter database %I reset %s', current_database(), setting)
  else format('alter role %I%s reset %s', r.rolname,
    case when s.setdatabase <> 0 then format(' in database %I', current_database()) else '' end, setting) end,
  format('%s is set for %s', setting, coalesce(quote_literal(r.rolname), 'every role')), null
from pg_db_role_setting s
cross join lateral (select split_part(entry, '=', 1) from unnest(s.setconfig) entry) settings (setting)
left join (
  select min(use) as use, oid, rolname, bool_or(is_login) as is_login
  from called group by oid, rolname
) r on r.oid = s.setrole
where (s.setrole = 0 or r.oid is not null)
  and s.setdatabase in (0, (select oid from pg_database where datname = current_database()))
  -- A role's settings apply when it logs in, not when a session sets the role.
  and (setting in ('role', 'row_security', 'search_path', 'session_authorization')
    or setting ~ '^tenancy\\.' or r.is_login)
union all
select 'app', 'D313', ${named('pg_authid', 'login.oid')},
  case when o->>'rolesLogin' is null then '-- set options.database.tenantRolesUrl, then run tenancy init'
  else string_agg(format('revoke %I from %I', tenant_roles.rolname, login.rolname)
    || case when current_setting('server_version_num')::int >= 160000 then format(' granted by %I',
      m.grantor) else '' end, '; ') end,
  format('the login %L may become the roles of %s tenants with schemas', login.rolname,
    count(distinct tenant_roles.oid)),
  case when o->>'rolesLogin' is not null then 'error' end
from input cross join tenant_roles join memberships m on m.roleid = tenant_roles.oid
  join logins login on login.oid = m.member and login.use = 'app'
where tenant_roles.has_schema and not login.rolsuper
  and (o->>'rolesLogin' is not null
    or ((o->>'signed')::bool and (o->>'hasRls')::bool and ${given}->'tenant' <> '{}'))
group by login.oid, login.rolname, o
) findings order by id, object`
}
