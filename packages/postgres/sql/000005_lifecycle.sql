-- Lifecycle of tenants: unfinished operations, the audit, tenants that are locked out of this
-- database, and the proof of custom domains.
-- The registry's tables are used on the default shard, `fences` (later `lockouts`) on every shard.

-- One row for each operation of several steps. A crash leaves it unfinished. Repeating the call
-- resumes it after the last step in `done`.
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

-- One operation per tenant at a time: the second of two concurrent inserts violates this index.
create unique index operations_unfinished on tenancy.operations (tenant_id) where finished_at is null;

-- What was done to tenants, and by which actor. No foreign key, so that it outlives the tenants.
create table tenancy.audit (
  id bigint generated always as identity primary key,
  at timestamptz not null default now(),
  tenant_id text collate "C" not null,
  action text not null check (action <> ''),
  actor text not null default session_user,
  details jsonb not null default '{}' check (jsonb_typeof(details) = 'object')
);

create index audit_tenant on tenancy.audit (tenant_id, id);

-- Tenants whose deletion was requested: their status before, and when their data is removed.
create table tenancy.deletions (
  tenant_id text collate "C" primary key references tenancy.tenants on delete cascade,
  was text not null check (was in ('provisioning', 'active', 'suspended')),
  keeps_data boolean not null default false,
  asked_at timestamptz not null default now(),
  due_at timestamptz not null
);

-- Tenants that are locked out of this database. Every statement of a tenant checks this table, so
-- that a process with a stale cache gets an error and never writes.
-- The key is a hash of the id, so that a copy of the table reveals no ids. The row of a deleted
-- tenant stays for ever, because an id is never reused.
create table tenancy.fences (
  tenant bytea not null check (length(tenant) = 32),
  home text not null check (home in ('shared', 'schema')),
  reason text not null check (reason in ('suspended', 'moving', 'moved', 'deleting')),
  created_at timestamptz not null default now(),
  primary key (tenant, home)
);

-- A random value that changes with each change of a lockout. It is not a number, because a server
-- that lost its last transactions would count to the same number again.
create table tenancy.fence_epoch (
  is_the_one boolean primary key default true check (is_the_one),
  epoch text not null default gen_random_uuid()
);

-- The same value as a constant that the planner inlines into plans, so comparing with it is free.
-- Replacing the function invalidates those plans in every session, before the session's next
-- transaction begins.
create function tenancy.current_fence_epoch() returns text
language sql stable parallel safe as $$ select null::pg_catalog.text $$;

-- Serializes concurrent changes: the second one waits for this row before it replaces the function.
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
  execute format(
    'create or replace function tenancy.current_fence_epoch() returns text '
      || 'language sql stable parallel safe as %L',
    format('select %L::pg_catalog.text', new.epoch));
  return null;
end
$$;

create trigger end_fence_epoch after insert or update or delete or truncate on tenancy.fences
for each statement execute function tenancy.end_fence_epoch();

-- A row trigger, enabled always: replicated rows fire no statement trigger, and functions are not
-- replicated.
create trigger publish_fence_epoch after insert or update on tenancy.fence_epoch
for each row execute function tenancy.publish_fence_epoch();

alter table tenancy.fences enable always trigger end_fence_epoch;
alter table tenancy.fence_epoch enable always trigger publish_fence_epoch;

insert into tenancy.fence_epoch default values;

-- Raises an error if the tenant is locked out of this placement for a reason that the caller does
-- not name in `known`. Otherwise returns the current lockout version.
-- One snapshot reads both, so that a version never covers a later lockout.
-- See verified_tenant() for the plan mode.
create function tenancy.pass_fence(id text, at_home text, known text) returns text
language plpgsql stable parallel restricted security definer
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
as $$
declare
  barred text;
  seen text;
begin
  select reason into barred from tenancy.fences
    where tenant = sha256(convert_to(id, 'UTF8')) and home = at_home and reason <> known;
  if found then
    raise exception using
      errcode = case barred when 'suspended' then 'TN403' when 'deleting' then 'TN404' else 'TN503' end,
      message = 'tenant refused: ' || barred;
  end if;
  select epoch into strict seen from tenancy.fence_epoch;
  return seen;
end
$$;

revoke all on function tenancy.current_fence_epoch(), tenancy.end_fence_epoch(),
  tenancy.publish_fence_epoch(), tenancy.pass_fence(text, text, text) from public;
grant usage on schema tenancy to :"shared";
grant execute on function tenancy.current_fence_epoch(), tenancy.pass_fence(text, text, text)
  to :"app", :"shared";

-- A claim of a domain: the token that its DNS must show, the failed checks since, and when it
-- lapsed.
alter table tenancy.domains
  add token text,
  add checked_at timestamptz,
  add misses int not null default 0,
  add lapsed_at timestamptz;

-- A check that changes no answer of a look-up needs no notification.
drop trigger announce on tenancy.domains;
create trigger announce after insert or delete or update of tenant_id, domain, verified_at on tenancy.domains
for each row execute function tenancy.announce();
