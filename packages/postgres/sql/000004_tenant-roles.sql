-- One database role per tenant. A policy trusts the tenant in the setting only if the statement's
-- role is that tenant's role.
-- The role's name is computed from the id, never the id from the name. Otherwise part of one
-- tenant's role name could be read as another tenant's id.

-- `tenantRole()` in core computes the same name. Both depend only on the id and the database, so
-- one policy serves all tenants.

-- Returns the tenant if `role` is the tenant's role in this database. Otherwise raises TN401, so
-- that a missing context never looks like an account without rows.
-- Callers pass current_user, because a policy must name everything that it depends on.
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
    raise exception using errcode = 'TN401',
      message = 'tenant context refused: the role is not the tenant''s';
  end if;
  return tenant;
end
$$;

revoke all on function tenancy.role_tenant(text, name) from public;
grant execute on function tenancy.role_tenant(text, name) to :"app";
