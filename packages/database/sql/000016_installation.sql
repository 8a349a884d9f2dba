-- Which installation this database is: a name that every key and channel of Redis carries. A copy of the database is another
-- installation, so the name counts only together with the server and the database that it was made for.
create table tenancy.installation (
  is_the_one boolean primary key default true check (is_the_one),
  id text not null check (id ~ '^[A-Za-z0-9_-]{1,63}$'),
  system_identifier text not null,
  database_oid oid not null,
  made_at timestamptz not null default now()
);

-- Where this database is: the cluster of the server, and the database in it.
create function tenancy.place(out system_identifier text, out database_oid oid)
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select control.system_identifier::text, database.oid
  from pg_control_system() control, pg_database database where database.datname = current_database()
$$;

-- The name of this installation, and whether it was made for this database. No row: none was made yet.
create function tenancy.installation(out id text, out is_here boolean) returns setof record
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select made.id, (made.system_identifier, made.database_oid) = (place.system_identifier, place.database_oid)
  from tenancy.installation made, tenancy.place() place
$$;

revoke all on function tenancy.place(), tenancy.installation() from public;
grant execute on function tenancy.installation() to :"registry";

-- News of a tenant names its proved domains, since only these lead to it. A claim is no news: it changes no answer.
-- A notification holds 8,000 bytes, so that many domains are told in several.
create or replace function tenancy.announce() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  before jsonb := case when tg_op <> 'INSERT' then to_jsonb(old) end;
  after jsonb := case when tg_op <> 'DELETE' then to_jsonb(new) end;
  tenant text := coalesce(after, before) ->> case tg_table_name when 'tenants' then 'id' else 'tenant_id' end;
  known_slugs json;
  domain_part json;
begin
  if tg_table_name = 'domains' and coalesce(before ->> 'verified_at', after ->> 'verified_at') is null then
    return null;
  end if;
  select coalesce(json_agg(distinct name), '[]') into known_slugs from (
    select slug from tenancy.tenants where id = tenant union select before ->> 'slug' union select after ->> 'slug'
  ) slugs (name) where name is not null;
  -- 25 names of at most 253 bytes.
  for domain_part in
    with known (name) as (
      select domain from tenancy.domains where tenant_id = tenant and verified_at is not null
      union select before ->> 'domain' union select after ->> 'domain'
    )
    select json_agg(name order by name) from (
      select name, (row_number() over (order by name) - 1) / 25 as part from known where name is not null
    ) parts group by part
  loop
    perform pg_notify('tenancy', json_build_object('id', tenant, 'slugs', known_slugs, 'domains', domain_part)::text);
  end loop;
  if not found then
    perform pg_notify('tenancy', json_build_object('id', tenant, 'slugs', known_slugs, 'domains', '[]'::json)::text);
  end if;
  return null;
end
$$;

-- A tenant has at most 100 domains, claims included.
create function tenancy.bound_domains() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  -- Of two that insert at once, the second waits here for the first one's commit, and counts its row.
  perform from tenancy.tenants where id = new.tenant_id for no key update;
  if (select count(*) from tenancy.domains where tenant_id = new.tenant_id) > 100 then
    raise exception using errcode = 'check_violation', constraint = 'domains_bound', message = 'a tenant has at most 100 domains';
  end if;
  return null;
end
$$;

create trigger bound_domains after insert on tenancy.domains
for each row execute function tenancy.bound_domains();

revoke all on function tenancy.bound_domains() from public;
