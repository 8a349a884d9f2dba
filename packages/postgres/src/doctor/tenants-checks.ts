import type { Family } from './finding.ts'

/** Stuck tenants and operations, by the registry and the operation log of the default shard. */
export const tenantChecks: Family = {
  checks: {
    D511: {
      level: 'warning',
      meaning: 'an operation was begun and has not gone on for an hour: ' +
        'the tenant stays half-way until it is called again'
    },
    D512: {
      level: 'warning',
      meaning: 'the tenant has been in this state for an hour, and nothing is at work on it'
    },
    D513: {
      level: 'warning',
      meaning: 'the grace period of a deleted tenant is over, and its data is still there'
    },
    D514: { level: 'warning', meaning: 'a migration failed and has not been tried again since' },
    D515: { level: 'info', meaning: 'the tenant moved more than a week ago, and its old copy is still kept' },
    D517: {
      level: 'warning',
      meaning: 'what was done to tenants can be changed afterwards, in tenancy.audit'
    }
  },
  // Plain reads of small tables, not of the catalog. The input is unused, but must be named.
  text: `
select * from (
select 'D511' as id, format('%s of tenant %s', kind, op.tenant_id) as object,
  format('-- tenancy %s %s', kind, coalesce(t.slug, op.tenant_id)) as fix,
    'it stopped after ' || coalesce(op.done[cardinality(op.done)], 'nothing')
    || coalesce(' (' || op.error || ')', '') as says
from tenancy.operations op left join tenancy.tenants t on t.id = op.tenant_id
where op.finished_at is null and op.updated_at < now() - interval '1 hour'
union all
select 'D512', format('tenant %s', id),
  format(case status when 'provisioning' then '-- tenancy create %s'
    else '-- tenancy delete %s, or tenancy resume %1$s' end, slug), 'it is ' || status
from tenancy.tenants t
where status in ('provisioning', 'deleting') and updated_at < now() - interval '1 hour'
  and not exists (select from tenancy.operations op where op.tenant_id = t.id and op.finished_at is null)
  and not exists (select from tenancy.deletions d where d.tenant_id = t.id)
union all
select 'D513', format('tenant %s', t.id), '-- tenancy purge --due', null
from tenancy.deletions d join tenancy.tenants t on t.id = d.tenant_id
where t.status = 'deleting' and d.due_at < now() - interval '1 day'
  and not exists (select from tenancy.operations op where op.tenant_id = t.id and op.finished_at is null)
union all
select 'D514',
  format('migration %s of %s', ledger.name,
    case ledger.tenant_id when '' then 'the shared tables' else 'tenant ' || ledger.tenant_id end),
  '-- correct the migration, then run tenancy migrate',
  coalesce(ledger.error, 'begun outside a transaction, and not ended')
from tenancy.migration_ledger ledger
where applied_at is null and (error is not null or tried_at < now() - interval '1 hour')
union all
select 'D515', format('old copy of tenant %s', move.tenant_id),
  format('-- tenancy move %s --confirm', coalesce(t.slug, move.tenant_id)),
  'it moved at ' || to_char(switched_at at time zone 'UTC', 'YYYY-MM-DD')
from tenancy.moves move left join tenancy.tenants t on t.id = move.tenant_id
where switched_at < now() - interval '7 days'
  and not exists (select from tenancy.operations op
    where op.tenant_id = move.tenant_id and op.finished_at is null)
union all
select 'D517', 'table tenancy.audit',
  'alter table tenancy.audit enable always trigger keep_audit; '
    || 'alter table tenancy.audit enable always trigger keep_audit_whole',
  'the triggers that refuse it are off, or gone'
where (select count(*) from pg_trigger where tgrelid = 'tenancy.audit'::regclass
  and tgname in ('keep_audit', 'keep_audit_whole') and tgenabled = 'A') <> 2
union all
select 'D517', 'role ' || quote_ident(grantee),
  format('revoke update, delete, truncate, trigger on tenancy.audit from %I', grantee),
  format('by role %s (%s)', grantee, string_agg(lower(privilege_type), ', ' order by privilege_type))
from (
  select case grantee when 0 then 'public' else pg_get_userbyid(grantee)::text end as grantee,
    privilege_type, relowner, grantee as oid
  from pg_class, aclexplode(relacl) where pg_class.oid = 'tenancy.audit'::regclass
) granted
where privilege_type in ('UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER') and granted.oid <> relowner
group by grantee
) findings where $1::text is not null order by id, object`
}
