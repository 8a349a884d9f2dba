-- Filtered lists. A page of tenants of one plan, strategy or shard is read from an index in the order
-- of the ids, whatever share of all tenants that is. Nearly all tenants are active: only the other
-- statuses are worth an index.
create index tenants_plan on tenancy.tenants (plan, id);
create index tenants_isolation on tenancy.tenants (isolation, id);
create index tenants_shard on tenancy.tenants (shard, id);
create index tenants_status on tenancy.tenants (status, id) where status <> 'active';

-- For the entries since a day, and for those that prune_audit() removes.
create index audit_at on tenancy.audit (at);
