-- Locks of managers, of migrations and of set-up. An advisory lock would not do: a tenant's SQL can
-- take any that it can name. These are rows of a table on which no role of a tenant has a
-- privilege. A tenant's own database has the same, made from this very text: it names no role.

create table tenancy.locks (
  name text collate "C" primary key,
  -- The backend that holds it, and a random key of which that backend holds the advisory lock. A
  -- session that ends frees its key, and so the lock. Another backend that takes the key changes
  -- nothing: both must agree.
  pid int not null,
  key bigint not null
);

-- Whether the session that a row names is still there.
create function tenancy.is_locked(pid int, key bigint) returns boolean
language sql set search_path = pg_catalog, pg_temp
as $$
  select exists (
    select from pg_locks held where held.locktype = 'advisory' and held.granted and held.objsubid = 1 and held.pid = $1
      and held.database = (select oid from pg_database where datname = current_database())
      and held.classid::bigint = $2 >> 32 and held.objid::bigint = $2 & 4294967295)
$$;

-- Takes a lock of the session, which holds until give_lock() or its end. False where another
-- session has it, or a transaction that does not end within a second. `key` is a random number from
-- 0 to 2^62.
create function tenancy.take_lock(wanted text, own_key bigint) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '1s'
as $$
begin
  perform pg_advisory_lock(own_key);
  begin
    insert into tenancy.locks as held (name, pid, key) values (wanted, pg_backend_pid(), own_key)
    on conflict (name) do update set pid = excluded.pid, key = excluded.key where not tenancy.is_locked(held.pid, held.key);
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

-- Takes a lock of the transaction, and waits for another transaction that has it. False where a
-- session has it, unless that is this one. The row is not there for others to see: who wants the
-- same name waits for the end of the transaction that made it.
create function tenancy.await_lock(wanted text) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  holder int;
begin
  -- Looked at first: the insert would lock the row of a session that has it, so that the session
  -- could not give it back.
  select held.pid into holder from tenancy.locks held where held.name = wanted and tenancy.is_locked(held.pid, held.key);
  if found then return holder = pg_backend_pid(); end if;
  insert into tenancy.locks as held (name, pid, key) values (wanted, 0, 0)
  on conflict (name) do update set pid = 0, key = 0 where not tenancy.is_locked(held.pid, held.key);
  if not found then return false; end if;
  delete from tenancy.locks where name = wanted;
  return true;
end
$$;

-- The same, without a long wait.
create function tenancy.claim_lock(wanted text) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '1s'
as $$
begin
  return tenancy.await_lock(wanted);
exception when lock_not_available then
  return false;
end
$$;

-- As before, with these locks in the place of advisory ones.
create or replace function tenancy.claim_migrations(tenant text, own_schema text, owned boolean, seen int, last text, registered boolean) returns void
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
    if not exists (select from tenancy.tenants where id = tenant and status not in ('deleting', 'deleted')) then
      raise exception using errcode = 'TN404', message = 'the tenant is being deleted';
    end if;
  end if;
  if not tenancy.await_lock('tenancy migrate ' || tenant) then
    raise exception using errcode = 'TN423', message = 'a migration of these tables runs outside a transaction';
  end if;
  if owned and obj_description(place, 'pg_namespace') is distinct from 'fastify-tenancy: tenant ' || tenant then
    raise exception using errcode = 'TN404', message = 'the tenant''s schema is not there';
  end if;
  -- A schema that is not to be had would be passed over in silence, and the tables made in the next
  -- of the search path.
  if place is null or not has_schema_privilege(place, 'usage') or not has_schema_privilege(place, 'create') then
    raise exception using errcode = 'insufficient_privilege',
      message = format('the schema %I is not there, or the owner of the tables may not use it: grant usage, create on schema %I to %I', own_schema, own_schema, current_user);
  end if;
  select count(*), max(ledger.name) into count_now, last_now
  from tenancy.migration_ledger ledger where tenant_id = tenant and applied_at is not null;
  if count_now <> seen or last_now is distinct from last then
    raise exception using errcode = 'TN409', message = 'somebody else has migrated this tenant meanwhile';
  end if;
  -- Gone with the transaction: for record_migration() to see that it is still this one.
  perform set_config('tenancy.migrating', 'tenant ' || tenant, true);
end
$$;

revoke all on function tenancy.is_locked(int, bigint), tenancy.take_lock(text, bigint), tenancy.give_lock(text, bigint),
  tenancy.await_lock(text), tenancy.claim_lock(text) from public;
