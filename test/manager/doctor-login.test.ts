import t from 'tap'

import { grantOptions, serverVersion } from '../support/server-version.ts'
import { runHoles } from './doctor-holes.ts'

t.test('CLI-06 INJ-20 a login that is or may become more than a tenant is found and fixed', async t => {
  await runHoles(t, [
    { name: 'BYPASSRLS', finds: ['D302 role {login}'], plant: 'alter role {login} bypassrls' },
    { name: 'CREATEROLE', finds: ['D303 role {login}'], plant: 'alter role {login} createrole' },
    { name: 'REPLICATION', finds: ['D304 role {login}'], plant: 'alter role {login} replication' },
    { name: 'CREATEDB', finds: ['D305 role {login}'], plant: 'alter role {login} createdb' },
    { name: 'superuser', finds: ['D301 role {login}'], plant: 'alter role {login} superuser' },
    {
      name: "the role of tenants' statements has BYPASSRLS",
      finds: ['D302 role {app}'],
      plant: 'alter role {app} bypassrls'
    },
    {
      name: 'INHERIT',
      finds: ['D306 role {login}'],
      plant: serverVersion < 16 ? 'alter role {login} inherit' : 'grant {app} to {login} with inherit true'
    },
    {
      name: 'the owner of a table',
      finds: ['D307 role {login}'],
      plant: 'create table mine (x int); alter table mine owner to {login}',
      after: 'drop table mine'
    },
    {
      name: "the role of tenants' statements owns a function",
      finds: ['D307 role {app}'],
      plant:
        "create function mine() returns int language sql as 'select 1'; alter function mine() owner to {app}",
      after: 'drop function mine()'
    },
    {
      name: 'may become the system',
      finds: ['D308 role {system} of {login}'],
      plant: 'grant {system} to {login}'
    },
    {
      name: 'may grant itself the system',
      finds: ['D308 role {system} of {login}'],
      plant: `grant {system} to {login} ${grantOptions.onlyAdmin}`
    },
    {
      name: 'owns the database',
      finds: ['D307 role {login}'],
      plant: 'alter database {database} owner to {login}',
      after: 'alter database {database} owner to postgres'
    },
    {
      name: 'may become the owner',
      finds: ['D308 role {owner} of {login}'],
      plant: 'grant {owner} to {login}'
    },
    {
      name: "may become what the role of tenants' statements may",
      finds: ['D308 role pg_read_all_data of {app}'],
      plant: 'grant pg_read_all_data to {app}'
    },
    {
      name: 'inherits from a role that it may not become',
      finds: ['D308 role pg_monitor of {app}'],
      plant: `grant pg_monitor to {app} ${grantOptions.inherit}`
    },
    {
      name: "may become a role that only looks like a tenant's",
      finds: ['D308 role tenant_z{suffix} of {login}'],
      plant: 'create role tenant_z{suffix}; grant tenant_z{suffix} to {login}',
      after: 'drop role tenant_z{suffix}'
    },
    {
      name: "a tenant's role is none",
      finds: [],
      plant: 'create role tenant_a{suffix}; grant {app} to tenant_a{suffix}; ' +
        `grant tenant_a{suffix} to {login} ${grantOptions.noInherit}`,
      mend: 'drop role tenant_a{suffix}'
    },
    {
      name: 'row_security of the login',
      finds: ['D311 setting row_security of role {login}'],
      plant: 'alter role {login} set row_security = off'
    },
    {
      name: 'role, in this database',
      finds: ['D311 setting role of role {login} in this database'],
      plant: 'alter role {login} in database {database} set role = {app}'
    },
    {
      name: 'search_path of all roles in this database',
      finds: ['D311 setting search_path of every role in this database'],
      plant: 'alter database {database} set search_path = public'
    },
    {
      name: 'CON-25 a setting that a function of the application left on its login',
      finds: ['D314 setting work_mem of role {login}'],
      plant: 'create function leave() returns void language plpgsql as $$ begin ' +
        "execute format('alter role %I set work_mem = 64', session_user); end $$; " +
        'set session authorization {login}; select leave(); reset session authorization; ' +
        'drop function leave()'
    },
    {
      name: 'CON-25 one that only holds in this database',
      finds: ['D314 setting statement_timeout of role {login} in this database'],
      plant: 'alter role {login} in database {database} set statement_timeout = 1'
    },
    {
      name: 'CON-25 one on the login of the global tables',
      finds: ['D314 setting lock_timeout of role login_global{suffix}'],
      plant: 'alter role login_global{suffix} set lock_timeout = 1'
    },
    {
      name: 'CON-25 a setting on the role of statements has no effect',
      finds: [],
      plant: 'alter role {app} set work_mem = 64',
      mend: 'alter role {app} reset work_mem'
    },
    {
      name: 'CON-25 one of another database is none',
      finds: [],
      plant: 'alter role {login} in database postgres set work_mem = 64',
      mend: 'alter role {login} in database postgres reset work_mem'
    },
    {
      name: 'CON-11 the login of the global tables may become the system',
      finds: ['D308 role {system} of login_global{suffix}'],
      plant: 'grant {system} to login_global{suffix}'
    },
    {
      name: "CON-09 the login of tenants' roles may become the role of statements",
      finds: ['D308 role {app} of login_roles{suffix}'],
      plant: 'grant {app} to login_roles{suffix}'
    },
    {
      name: 'a tenant by default',
      finds: ['D312 setting tenancy.tenant of role {login}'],
      plant: "alter role {login} set tenancy.tenant = 'acme'"
    },
    {
      name: 'more than 500 roles of tenants',
      finds: ['D310 role {login}'],
      plant: "do $$ begin for n in 1..501 loop execute format('create role %I nologin; grant %I to %I; " +
        `grant %I to %I ${grantOptions.noInherit}', 'tenant_n' || n || '{suffix}', '{app}', ` +
        "'tenant_n' || n || '{suffix}', 'tenant_n' || n || '{suffix}', '{login}'); end loop; end $$",
      mend: "do $$ begin for n in 1..501 loop execute format('drop role %I', 'tenant_n' || n || " +
        "'{suffix}'); end loop; end $$"
    }
  ])
})
