-- The lives of tenants: what was begun and is not finished, what was done, who is locked out of this database, and
-- how custom domains are proved. The registry's part is used on the default shard, fences on every shard.

-- One row for each operation of several steps. A crash leaves it unfinished; the same call takes it up where `done` ends.
create table tenancy.operations (
  id bigint generated always as identity primary key,
  tenant_id text collate "C" not null,
  kind text not null check (kind <> ''),
  input jsonb not null default '{}',
  done text[] not null default '{}',
  state jsonb not null default '{}' check (jsonb_typeof(state) = 'object'),
  error text,
  started_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  finished_at timestamptz
);

-- One at a time: of two that begin at once, the second meets the first one's row.
create unique index operations_unfinished on tenancy.operations (tenant_id) where finished_at is null;

-- What was done to tenants, by whom. Outlives them: no foreign key.
create table tenancy.audit (
  id bigint generated always as identity primary key,
  at timestamptz not null default now(),
  tenant_id text collate "C" not null,
  action text not null check (action <> ''),
  actor text not null default session_user,
  details jsonb not null default '{}' check (jsonb_typeof(details) = 'object')
);

create index audit_tenant on tenancy.audit (tenant_id, id);

-- Tenants whose deletion was asked for: what they were before, and when their data goes.
create table tenancy.deletions (
  tenant_id text collate "C" primary key references tenancy.tenants on delete cascade,
  was text not null check (was in ('provisioning', 'active', 'suspended')),
  keeps_data boolean not null default false,
  asked_at timestamptz not null default now(),
  due_at timestamptz not null
);

-- Who is locked out of the tenant's rows in this database. Every statement of a tenant looks here, whatever its process
-- believes: one that slept through the news gets an error, and never writes. The key is the id's hash, since all
-- tenants' roles may read the table. A row of a deleted tenant stays for ever: an id is never given again.
create table tenancy.fences (
  tenant bytea not null check (length(tenant) = 32),
  home text not null check (home in ('shared', 'schema')),
  reason text not null check (reason in ('suspended', 'moving', 'moved', 'deleting')),
  created_at timestamptz not null default now(),
  primary key (tenant, home)
);

create function tenancy.refuse(reason text) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  raise exception using errcode = case reason when 'suspended' then 'TN403' when 'deleting' then 'TN404' else 'TN503' end,
    message = 'tenant refused: ' || reason;
end
$$;

revoke all on function tenancy.refuse(text) from public;
grant usage on schema tenancy to :"shared";
grant select on tenancy.fences to :"app", :"shared";
grant execute on function tenancy.refuse(text) to :"app", :"shared";

-- A claim of a domain: the token that its DNS must show, how often it was missed since, and when it stopped to count.
alter table tenancy.domains
  add token text,
  add checked_at timestamptz,
  add misses int not null default 0,
  add lapsed_at timestamptz;

-- A check that changes nothing for anybody is no news.
drop trigger announce on tenancy.domains;
create trigger announce after insert or delete or update of tenant_id, domain, verified_at on tenancy.domains
for each row execute function tenancy.announce();
