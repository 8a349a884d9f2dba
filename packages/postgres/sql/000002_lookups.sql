-- Look-ups by exact key. A caller can ask for a tenant that it can name, and cannot list tenants.
-- The answer is JSON text, so that no type parser of the caller's driver can change it.

create function tenancy.tenant_json(tenant tenancy.tenants) returns text
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select json_build_object(
    'id', tenant.id, 'slug', tenant.slug, 'name', tenant.name, 'status', tenant.status, 'plan', tenant.plan,
    'isolation', tenant.isolation, 'shard', tenant.shard,
    'schema', tenant.schema_name, 'database', tenant.database_name,
    'settings', tenant.settings, 'version', tenant.version,
    'createdAt', tenant.created_at, 'updatedAt', tenant.updated_at,
    'domains', (
      select coalesce(json_agg(domain order by domain), '[]')
      from tenancy.domains where tenant_id = tenant.id and verified_at is not null
    )
  )::text
$$;

create function tenancy.tenant_by_slug(wanted text) returns text
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select tenancy.tenant_json(tenants) from tenancy.tenants where slug = wanted and status <> 'deleted'
$$;

create function tenancy.tenant_by_domain(wanted text) returns text
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select tenancy.tenant_json(tenants)
  from tenancy.domains join tenancy.tenants on tenants.id = domains.tenant_id
  where domain = wanted and verified_at is not null and status <> 'deleted'
$$;

create function tenancy.tenant_by_id(wanted text) returns text
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select tenancy.tenant_json(tenants) from tenancy.tenants where id = wanted
$$;

revoke all on function tenancy.tenant_json(tenancy.tenants), tenancy.tenant_by_slug(text),
  tenancy.tenant_by_domain(text), tenancy.tenant_by_id(text) from public;
grant execute on function tenancy.tenant_json(tenancy.tenants), tenancy.tenant_by_slug(text),
  tenancy.tenant_by_domain(text), tenancy.tenant_by_id(text) to :"registry";
