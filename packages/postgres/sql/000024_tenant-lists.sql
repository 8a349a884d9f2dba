-- Filtered lists. An index returns a page of tenants of one plan, strategy or shard in id order,
-- whatever share of all tenants matches.
-- Nearly all tenants are active, so only the other statuses are worth an index.
create index tenants_plan on tenancy.tenants (plan, id);
create index tenants_isolation on tenancy.tenants (isolation, id);
create index tenants_shard on tenancy.tenants (shard, id);
create index tenants_status on tenancy.tenants (status, id) where status <> 'active';

-- For listing the entries since a day, and for the deletion in prune_audit().
create index audit_at on tenancy.audit (at);
