import { named, type Family } from './finding.ts'
import { given, prelude } from './prelude.ts'

/** Checks of the whole database or server. Tenant databases of other registries are not checked. */
export const databaseChecks: Family = {
  checks: {
    D602: {
      level: 'warning',
      meaning: 'a publication of all tables sends the rows of all tenants to every subscriber'
    },
    D603: {
      level: 'warning',
      meaning: 'the logins of other tenants may connect to the database of this one'
    },
    D605: {
      level: 'info',
      meaning: 'no event trigger records changes of tables and functions that are made by hand: ' +
        'processes notice them within a minute, and only then treat statements on them as harmful'
    }
  },
  reads: ['tenants'],
  text: `${prelude}
tenant_databases as (
  select d.oid, d.datname from pg_database d
  where shobj_description(d.oid, 'pg_database') in (
      select 'fastify-tenancy: tenant ' || t.id
        from jsonb_to_recordset(${given}->'tenants') t (id text, isolation text)
        where t.isolation = 'database')
    and exists (select from aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) where grantee = 0)
)
select 'D602' as id, ${
    named('pg_publication', 'p.oid')
  } as object, format('drop publication %I', pubname) as fix from pg_publication p where puballtables
union all
select 'D603', ${
    named('pg_database', 'oid')
  }, format('revoke all on database %I from public', datname) from tenant_databases
union all
select 'D605', ${
    named('pg_database', 'd.oid')
  }, '-- run tenancy init with the URL of a superuser in options.database.ownerUrl' from pg_database d
where datname = current_database() and not exists (
  select from pg_event_trigger where evtname = 'tenancy_catalog' and evtenabled = 'A')`
}
