-- A database role per tenant: a policy trusts the tenant in the setting only where the role of the statement is that tenant's.
-- The name is made from the id and never the other way round, so that no part of one tenant's name can be read as
-- another's id; core's tenantRole() makes the same. Both forms are of the id and the database alone: one policy serves all tenants.

-- The tenant, when `role` is the role of that tenant in this database; raises TN401 otherwise, so that
-- a missing context never looks like an empty account. To be called with current_user: inside, it would be the same,
-- but a policy must name what it depends on.
create function tenancy.role_tenant(tenant text, role name) returns text
language plpgsql stable parallel safe set search_path = pg_catalog, pg_temp
as $$
declare
  suffix text := '_' || substr(md5(current_database()), 1, 8);
  own text := case
    when length('tenant_' || tenant || suffix) <= 63 then 'tenant_' || tenant || suffix
    else 'tenanth_' || substr(encode(sha256(convert_to(tenant, 'UTF8')), 'hex'), 1, 46) || suffix
  end;
begin
  if coalesce(tenant, '') = '' or role is distinct from own::name then
    raise exception using errcode = 'TN401', message = 'tenant context refused: the role is not the tenant''s';
  end if;
  return tenant;
end
$$;

revoke all on function tenancy.role_tenant(text, name) from public;
grant execute on function tenancy.role_tenant(text, name) to :"app";
