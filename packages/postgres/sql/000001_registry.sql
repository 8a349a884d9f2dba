-- The registry: which tenants exist, and which names (ids, slugs, domains) are taken.
-- Everything here belongs to the owner role. The application's role may read none of it.

create table tenancy.migrations (
  version int primary key,
  name text not null,
  applied_at timestamptz not null default now()
);

-- collate "C": look-ups and pages compare bytes, so every server orders the same way.
create table tenancy.tenants (
  id text collate "C" primary key check (id ~ '^[A-Za-z0-9_-]{1,63}$'),
  slug text collate "C" not null check (
    slug ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'
    and slug !~ '^..--'
    and slug !~ '^[0-9]+$'
    and slug !~ '^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$'
  ),
  name text not null check (name <> ''),
  status text not null check (status in ('provisioning', 'active', 'suspended', 'deleting', 'deleted')),
  plan text not null check (plan <> ''),
  isolation text not null check (isolation in ('rls', 'row', 'schema', 'database')),
  shard text not null check (shard <> ''),
  schema_name text,
  database_name text,
  settings jsonb not null default '{}' check (jsonb_typeof(settings) = 'object'),
  version int not null default 1,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  check (id <> slug)
);

-- A deleted tenant keeps its row as a record and releases its slug.
create unique index tenants_slug on tenancy.tenants (slug) where status <> 'deleted';

-- Several tenants may claim a domain, but only one tenant can prove it. A claim alone must not
-- lock out the real owner of the domain.
create table tenancy.domains (
  tenant_id text collate "C" not null references tenancy.tenants on delete cascade,
  domain text collate "C" not null check (
    length(domain) <= 253
    and domain ~ '^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'
    and domain !~ '\.[0-9]+$'
  ),
  verified_at timestamptz,
  created_at timestamptz not null default now(),
  primary key (tenant_id, domain)
);

create unique index domains_verified on tenancy.domains (domain) where verified_at is not null;

-- Ids and slugs share one namespace, so that a bare name in a file or a command means one tenant.
-- The primary key decides between concurrent writers. A released slug stays taken until free_at.
create table tenancy.names (
  name text collate "C" primary key,
  kind text not null check (kind in ('id', 'slug')),
  tenant_id text collate "C" not null,
  free_at timestamptz
);

create function tenancy.hold_names() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  was text := case when tg_op <> 'INSERT' and old.status <> 'deleted' then old.slug end;
  becomes text := case when tg_op <> 'DELETE' and new.status <> 'deleted' then new.slug end;
  claim text;
begin
  if tg_op = 'UPDATE' and new.id <> old.id then
    raise exception using errcode = 'check_violation', constraint = 'tenants_id_stays',
      message = 'the id of a tenant never changes';
  end if;
  if was is distinct from becomes and was is not null then
    update tenancy.names set free_at = now() + interval '30 days' where name = was;
  end if;
  if was is distinct from becomes or tg_op = 'INSERT' then
    -- In name order: otherwise two writers that take the same two names could deadlock.
    for claim in
      select wanted.name from (values (becomes), (case tg_op when 'INSERT' then new.id end)) wanted (name)
      where wanted.name is not null order by wanted.name collate "C"
    loop
      insert into tenancy.names as held (name, kind, tenant_id)
      values (claim, case claim when new.id then 'id' else 'slug' end, new.id)
      on conflict (name) do update set tenant_id = excluded.tenant_id, free_at = null
      where held.kind = 'slug'
        and (held.free_at <= now() or (held.free_at is not null and held.tenant_id = excluded.tenant_id));
      if not found then
        raise exception using errcode = 'unique_violation',
          constraint = case claim when new.id then 'names_id' else 'names_slug' end,
          message = 'the name is taken';
      end if;
    end loop;
  end if;
  return null;
end
$$;

create trigger hold_names after insert or update or delete on tenancy.tenants
for each row execute function tenancy.hold_names();

-- A trigger counts the version, so that a change by hand also invalidates cached copies.
create function tenancy.count_version() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  new.version := old.version + 1;
  new.updated_at := now();
  return new;
end
$$;

create trigger count_version before update on tenancy.tenants
for each row execute function tenancy.count_version();

-- Notifies every listener of each change to a tenant, however it was written. The notification
-- holds the tenant's id and all names that it had or has.
create function tenancy.announce() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  before jsonb := case when tg_op <> 'INSERT' then to_jsonb(old) end;
  after jsonb := case when tg_op <> 'DELETE' then to_jsonb(new) end;
  tenant text := coalesce(after, before) ->> case tg_table_name when 'tenants' then 'id' else 'tenant_id' end;
  change text;
begin
  change := json_build_object(
    'id', tenant,
    'slugs', (select coalesce(json_agg(distinct name), '[]') from (
      select slug from tenancy.tenants where id = tenant union select before ->> 'slug'
        union select after ->> 'slug'
    ) slugs (name) where name is not null),
    'domains', (select coalesce(json_agg(distinct name), '[]') from (
      select domain from tenancy.domains where tenant_id = tenant union select before ->> 'domain'
        union select after ->> 'domain'
    ) domains (name) where name is not null)
  )::text;
  -- PostgreSQL limits a notification to 8,000 bytes.
  perform pg_notify('tenancy', case when octet_length(change) < 7900 then change else 'all' end);
  return null;
end
$$;

create trigger announce after insert or update or delete on tenancy.tenants
for each row execute function tenancy.announce();
create trigger announce after insert or update or delete on tenancy.domains
for each row execute function tenancy.announce();

revoke all on function tenancy.hold_names(), tenancy.count_version(), tenancy.announce() from public;
grant usage on schema tenancy to :"registry";
grant select on tenancy.tenants, tenancy.domains to :"registry";
