-- Locks for managers, migrations and set-up. Advisory locks are not enough, because a tenant's SQL
-- can take any advisory lock that it can name. No tenant role has a privilege on this table.
-- A tenant's own database gets the same objects from this file, so the file names no role.

create table tenancy.locks (
  name text collate "C" primary key,
  -- The backend that holds the lock, and a random key on which that backend holds an advisory lock.
  -- The end of the session frees the key, and so the lock. Another backend that takes the key
  -- changes nothing, because pid and key must both match.
  pid int not null,
  key bigint not null
);

-- Returns whether the session in a row still holds its lock.
create function tenancy.is_locked(pid int, key bigint) returns boolean
language sql set search_path = pg_catalog, pg_temp
as $$
  select exists (
    select from pg_locks held where held.locktype = 'advisory' and held.granted and held.objsubid = 1
      and held.pid = $1
      and held.database = (select oid from pg_database where datname = current_database())
      and held.classid::bigint = $2 >> 32 and held.objid::bigint = $2 & 4294967295)
$$;

-- Takes a session-level lock, which holds until give_lock() or the end of the session. Returns
-- false if another session has it, or a transaction that does not end within a second has it.
-- `own_key` is a random number from 0 to 2^62.
create function tenancy.take_lock(wanted text, own_key bigint) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '1s'
as $$
begin
  perform pg_advisory_lock(own_key);
  begin
    insert into tenancy.locks as held (name, pid, key) values (wanted, pg_backend_pid(), own_key)
    on conflict (name) do update set pid = excluded.pid, key = excluded.key
      where not tenancy.is_locked(held.pid, held.key);
    if found then return true; end if;
  exception when lock_not_available then null;
  end;
  perform pg_advisory_unlock(own_key);
  return false;
end
$$;

create function tenancy.give_lock(taken text, own_key bigint) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  delete from tenancy.locks where name = taken and pid = pg_backend_pid() and key = own_key;
  perform pg_advisory_unlock(own_key);
end
$$;

-- Takes a transaction-level lock, and waits while another transaction has it. Returns false if
-- another session has it as a session-level lock.
-- The inserted row is deleted at once, so no other session sees it. A second transaction that
-- inserts the same name waits for the end of this transaction.
create function tenancy.await_lock(wanted text) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  holder int;
begin
  -- Look first: `insert … on conflict` would lock the row of the session that has the lock, and
  -- that session could not give it back.
  select held.pid into holder from tenancy.locks held
    where held.name = wanted and tenancy.is_locked(held.pid, held.key);
  if found then return holder = pg_backend_pid(); end if;
  insert into tenancy.locks as held (name, pid, key) values (wanted, 0, 0)
  on conflict (name) do update set pid = 0, key = 0 where not tenancy.is_locked(held.pid, held.key);
  if not found then return false; end if;
  delete from tenancy.locks where name = wanted;
  return true;
end
$$;

-- Like await_lock(), but returns false after a second of waiting.
create function tenancy.claim_lock(wanted text) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '1s'
as $$
begin
  return tenancy.await_lock(wanted);
exception when lock_not_available then
  return false;
end
$$;

-- Replaces the function of 000006: uses these locks instead of advisory locks.
create or replace function tenancy.claim_migrations(
  tenant text, own_schema text, owned boolean, seen int, last text, registered boolean
) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  place oid := (select oid from pg_namespace where nspname = own_schema);
  count_now int;
  last_now text;
begin
  perform set_config('role', pg_get_userbyid(nspowner), true) from pg_namespace where nspname = 'tenancy';
  if registered then
    if not tenancy.claim_lock('tenancy tenant ' || tenant) then
      raise exception using errcode = 'TN423', message = 'a manager is at work on this tenant';
    end if;
    if not exists (select from tenancy.tenants
      where id = tenant and status not in ('deleting', 'deleted')) then
      raise exception using errcode = 'TN404', message = 'the tenant is being deleted';
    end if;
  end if;
  if not tenancy.await_lock('tenancy migrate ' || tenant) then
    raise exception using errcode = 'TN423',
      message = 'a migration of these tables runs outside a transaction';
  end if;
  if owned
    and obj_description(place, 'pg_namespace') is distinct from 'fastify-tenancy: tenant ' || tenant
  then
    raise exception using errcode = 'TN404', message = 'the tenant''s schema is not there';
  end if;
  -- PostgreSQL skips an unusable schema of the search path silently. The migration would then
  -- create its tables in the next schema.
  if place is null or not has_schema_privilege(place, 'usage')
    or not has_schema_privilege(place, 'create') then
    raise exception using errcode = 'insufficient_privilege',
      message = format('the schema %I is not there, or the owner of the tables may not use it: '
        || 'grant usage, create on schema %I to %I', own_schema, own_schema, current_user);
  end if;
  select count(*), max(ledger.name) into count_now, last_now
  from tenancy.migration_ledger ledger where tenant_id = tenant and applied_at is not null;
  if count_now <> seen or last_now is distinct from last then
    raise exception using errcode = 'TN409', message = 'somebody else has migrated this tenant meanwhile';
  end if;
  -- Transaction-local, so record_migration() can check that it runs in the same transaction.
  perform set_config('tenancy.migrating', 'tenant ' || tenant, true);
end
$$;

revoke all on function tenancy.is_locked(int, bigint), tenancy.take_lock(text, bigint),
  tenancy.give_lock(text, bigint), tenancy.await_lock(text), tenancy.claim_lock(text) from public;
