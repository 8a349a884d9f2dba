// Made by scripts/embed-sql.ts from sql/*.sql: edit those, then run `npm run embed-sql`.

/** The SQL files in the order in which they are applied. `:"role"` stands for a role of this database. */
export const sqlFiles: readonly { readonly version: number, readonly name: string, readonly sql: string }[] = [
  {
    version: 1,
    name: 'registry',
    sql: `-- The registry: who the tenants are, and which names are spoken for.
-- Everything here belongs to the owner role; the application's role may read none of it.

create table tenancy.migrations (
  version int primary key,
  name text not null,
  applied_at timestamptz not null default now()
);

-- collate "C": look-ups and pages compare bytes, on every server alike.
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

-- A deleted tenant keeps its row for the record, and gives its slug back.
create unique index tenants_slug on tenancy.tenants (slug) where status <> 'deleted';

-- Several tenants may claim a domain, one may prove it: a claim alone must not lock the real holder out.
create table tenancy.domains (
  tenant_id text collate "C" not null references tenancy.tenants on delete cascade,
  domain text collate "C" not null check (
    length(domain) <= 253
    and domain ~ '^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'
    and domain !~ '\\.[0-9]+$'
  ),
  verified_at timestamptz,
  created_at timestamptz not null default now(),
  primary key (tenant_id, domain)
);

create unique index domains_verified on tenancy.domains (domain) where verified_at is not null;

-- Ids and slugs share one space of names, so that a bare name in a file or a command means one tenant.
-- One primary key decides between any number of writers at once. A slug given up stays taken until free_at.
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
    raise exception using errcode = 'check_violation', constraint = 'tenants_id_stays', message = 'the id of a tenant never changes';
  end if;
  if was is distinct from becomes and was is not null then
    update tenancy.names set free_at = now() + interval '30 days' where name = was;
  end if;
  if was is distinct from becomes or tg_op = 'INSERT' then
    -- In the order of the names: two writers who want the same two must not wait for each other.
    for claim in
      select wanted.name from (values (becomes), (case tg_op when 'INSERT' then new.id end)) wanted (name)
      where wanted.name is not null order by wanted.name collate "C"
    loop
      insert into tenancy.names as held (name, kind, tenant_id)
      values (claim, case claim when new.id then 'id' else 'slug' end, new.id)
      on conflict (name) do update set tenant_id = excluded.tenant_id, free_at = null
      where held.kind = 'slug' and (held.free_at <= now() or (held.free_at is not null and held.tenant_id = excluded.tenant_id));
      if not found then
        raise exception using errcode = 'unique_violation',
          constraint = case claim when new.id then 'names_id' else 'names_slug' end, message = 'the name is taken';
      end if;
    end loop;
  end if;
  return null;
end
$$;

create trigger hold_names after insert or update or delete on tenancy.tenants
for each row execute function tenancy.hold_names();

-- Counted here, so that an edit by hand also shows to whoever read the tenant before it.
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

-- Tells every listener which tenant changed and all names that it had or has, whoever wrote the change.
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
      select slug from tenancy.tenants where id = tenant union select before ->> 'slug' union select after ->> 'slug'
    ) slugs (name) where name is not null),
    'domains', (select coalesce(json_agg(distinct name), '[]') from (
      select domain from tenancy.domains where tenant_id = tenant union select before ->> 'domain' union select after ->> 'domain'
    ) domains (name) where name is not null)
  )::text;
  -- A notification holds 8,000 bytes.
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
`
  },
  {
    version: 2,
    name: 'lookups',
    sql: `-- Look-ups by exact key: whoever may call them can ask for a tenant that it can name, and cannot list any.
-- The answer is JSON text, so that no type parser of the caller's driver can change it.

create function tenancy.tenant_json(tenant tenancy.tenants) returns text
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select json_build_object(
    'id', tenant.id, 'slug', tenant.slug, 'name', tenant.name, 'status', tenant.status, 'plan', tenant.plan,
    'isolation', tenant.isolation, 'shard', tenant.shard, 'schema', tenant.schema_name, 'database', tenant.database_name,
    'settings', tenant.settings, 'version', tenant.version, 'createdAt', tenant.created_at, 'updatedAt', tenant.updated_at,
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
`
  },
  {
    version: 3,
    name: 'signing',
    sql: `-- The signed context: a policy trusts the tenant in a token that only the application can have made.
-- HMAC-SHA256 is sha256(outer || sha256(inner || message)), which needs no extension: the two padded keys are stored.

create table tenancy.signing_keys (
  id text primary key,
  inner_pad bytea not null check (length(inner_pad) = 64),
  outer_pad bytea not null check (length(outer_pad) = 64),
  created_at timestamptz not null default now()
);

-- The tenant of the token in \`tenancy.token\`; raises TN401 for anything but a valid token, so that a refused
-- one never looks like an empty account. The signature comes first: only the holder of a key learns more.
-- Expiry is held against the transaction's start: a long transaction does not lose its tenant half-way.
-- Restricted, not safe: a parallel worker has another pid. Plans stay parallel: the leader hands the result down.
create function tenancy.verified_tenant() returns text
language plpgsql stable parallel restricted security definer set search_path = pg_catalog, pg_temp
as $$
declare
  token text := current_setting('tenancy.token', true);
  -- No regular expression: it costs twenty times the rest. Nothing is cast before its signature was found right.
  part text[] := string_to_array(token, '|');
  message text;
  expires timestamptz;
  reason text;
begin
  if cardinality(part) is distinct from 4 then
    reason := case when coalesce(token, '') = '' then 'there is none' else 'it is malformed' end;
  else
    message := part[1] || '|' || part[2] || '|' || part[3];
    if not exists (
      select from tenancy.signing_keys
      where encode(sha256(outer_pad || sha256(inner_pad || convert_to(message, 'UTF8'))), 'hex') = part[4]
    ) then
      reason := 'no known key signed it';
    else
      expires := to_timestamp(part[2]::bigint / 1000.0);
      reason := case
        when expires < now() - interval '30 seconds' then 'it has expired'
        when expires > clock_timestamp() + interval '90 seconds' then 'it is not valid yet'
        when part[3] not in ('0', pg_backend_pid()::text) then 'it belongs to another connection'
      end;
    end if;
  end if;
  if reason is not null then
    raise exception using errcode = 'TN401', message = 'tenant context refused: ' || reason;
  end if;
  return part[1];
end
$$;

revoke all on function tenancy.verified_tenant() from public;
grant usage on schema tenancy to :"app";
grant execute on function tenancy.verified_tenant() to :"app";

-- Equality that the planner does not take for equality. A policy compares the column twice: with the plain
-- setting by \`=\`, for the index and the statistics, and with the verified tenant by \`===\`, for the truth.
-- Were both \`=\`, the planner would join them into one class and might check only the first, which any
-- statement can change. Hence: no commutator, negator, HASHES or MERGES, and no operator class.
-- neqsel: "nearly every row that is left passes", which keeps the first clause's estimate.
create operator tenancy.=== (function = pg_catalog.texteq, leftarg = text, rightarg = text, restrict = pg_catalog.neqsel);
create operator tenancy.=== (function = pg_catalog.uuid_eq, leftarg = uuid, rightarg = uuid, restrict = pg_catalog.neqsel);
create operator tenancy.=== (function = pg_catalog.int4eq, leftarg = int, rightarg = int, restrict = pg_catalog.neqsel);
create operator tenancy.=== (function = pg_catalog.int8eq, leftarg = bigint, rightarg = bigint, restrict = pg_catalog.neqsel);
`
  },
  {
    version: 4,
    name: 'tenant-roles',
    sql: `-- A database role per tenant: a policy trusts the tenant in the setting only where the role of the statement is that tenant's.
-- The name is made from the id and never the other way round, so that no part of one tenant's name can be read as
-- another's id; core's tenantRole() makes the same. Both forms are of the id and the database alone: one policy serves all tenants.

-- The tenant, when \`role\` is the role of that tenant in this database; raises TN401 otherwise, so that
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
`
  }
]
