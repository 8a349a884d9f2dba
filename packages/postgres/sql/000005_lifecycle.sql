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

-- Who is locked out of the tenant's rows in this database. Every statement of a tenant asks here, whatever its process
-- believes: one that slept through the news gets an error, and never writes. The key is the id's hash, so that a copy of
-- the table tells no ids. A row of a deleted tenant stays for ever: an id is never given again.
create table tenancy.fences (
  tenant bytea not null check (length(tenant) = 32),
  home text not null check (home in ('shared', 'schema')),
  reason text not null check (reason in ('suspended', 'moving', 'moved', 'deleting')),
  created_at timestamptz not null default now(),
  primary key (tenant, home)
);

-- One value that is another one after each change of a fence. Not a number: a server that lost its last transactions would
-- count to the same one again.
create table tenancy.fence_epoch (
  is_the_one boolean primary key default true check (is_the_one),
  epoch text not null default gen_random_uuid()
);

-- The same value as a constant that the planner writes into a plan: comparing with it costs nothing. A change of a function
-- spoils the plans that it is written into, in every session, before the session's next transaction begins.
create function tenancy.current_fence_epoch() returns text
language sql stable parallel safe as $$ select null::pg_catalog.text $$;

-- Of two who change fences at once, the second waits here, and so they do not meet at the function.
create function tenancy.end_fence_epoch() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  update tenancy.fence_epoch set epoch = gen_random_uuid();
  return null;
end
$$;

create function tenancy.publish_fence_epoch() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  execute format('create or replace function tenancy.current_fence_epoch() returns text language sql stable parallel safe as %L',
    format('select %L::pg_catalog.text', new.epoch));
  return null;
end
$$;

create trigger end_fence_epoch after insert or update or delete or truncate on tenancy.fences
for each statement execute function tenancy.end_fence_epoch();

-- Of the row, and always: rows that replication brings fire no trigger of a statement, and functions are not replicated.
create trigger publish_fence_epoch after insert or update on tenancy.fence_epoch
for each row execute function tenancy.publish_fence_epoch();

alter table tenancy.fences enable always trigger end_fence_epoch;
alter table tenancy.fence_epoch enable always trigger publish_fence_epoch;

insert into tenancy.fence_epoch default values;

-- Raises where a tenant is locked out of its home, but for a reason that the caller knows of. Otherwise the epoch in which it
-- was not: both are read by one snapshot, so that an epoch never stands for a later fence.
-- Its own plan mode: the context asks for custom plans, and the queries in here would be planned anew at every call.
create function tenancy.pass_fence(id text, at_home text, known text) returns text
language plpgsql stable parallel restricted security definer
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
as $$
declare
  barred text;
  seen text;
begin
  select reason into barred from tenancy.fences where tenant = sha256(convert_to(id, 'UTF8')) and home = at_home and reason <> known;
  if found then
    raise exception using errcode = case barred when 'suspended' then 'TN403' when 'deleting' then 'TN404' else 'TN503' end,
      message = 'tenant refused: ' || barred;
  end if;
  select epoch into strict seen from tenancy.fence_epoch;
  return seen;
end
$$;

revoke all on function tenancy.current_fence_epoch(), tenancy.end_fence_epoch(), tenancy.publish_fence_epoch(), tenancy.pass_fence(text, text, text) from public;
grant usage on schema tenancy to :"shared";
grant execute on function tenancy.current_fence_epoch(), tenancy.pass_fence(text, text, text) to :"app", :"shared";

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
