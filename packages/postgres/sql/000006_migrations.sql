-- Which of the application's own migrations have run: of the shared tables of this database, and of each tenant whose
-- schema is here. A tenant's own database has the same, made from this very text: it names no role.

create table tenancy.migration_ledger (
  -- '' for the shared tables.
  tenant_id text collate "C" not null,
  name text collate "C" not null check (name <> ''),
  checksum text not null,
  -- Null while the last attempt failed: then `error` says why. Both are null from the beginning of a migration that runs outside
  -- a transaction to its end: whoever finds it so, and nobody at work, knows of a crash.
  applied_at timestamptz,
  duration_ms numeric(12, 1),
  error text,
  tried_at timestamptz not null default clock_timestamp(),
  primary key (tenant_id, name),
  check (applied_at is null or error is null)
);

-- Begins a transaction of migrations, as the owner of this schema, who owns the tables: one at a time for each tenant.
-- Raises TN409 when the ledger is not as the caller has read it, TN404 when the tenant's schema is not there or the tenant is
-- on its way out, TN423 when a manager is at work on it. `registered`: whether the registry that decides is in this database.
-- The lock is of the tenant alone, so that as many tenants can be migrated at once as there are connections. TN423, too, while a
-- migration runs outside a transaction: who waited here would hold up its CREATE INDEX CONCURRENTLY, which waits for all snapshots.
create function tenancy.claim_migrations(tenant text, own_schema text, owned boolean, seen int, last text, registered boolean) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  place oid := (select oid from pg_namespace where nspname = own_schema);
  count_now int;
  last_now text;
begin
  perform set_config('role', pg_get_userbyid(nspowner), true) from pg_namespace where nspname = 'tenancy';
  if registered then
    if not pg_try_advisory_xact_lock(hashtextextended('tenancy tenant ' || tenant, 0)) then
      raise exception using errcode = 'TN423', message = 'a manager is at work on this tenant';
    end if;
    if not exists (select from tenancy.tenants where id = tenant and status not in ('deleting', 'deleted')) then
      raise exception using errcode = 'TN404', message = 'the tenant is being deleted';
    end if;
  end if;
  if not pg_try_advisory_xact_lock_shared(hashtextextended('tenancy migrate alone ' || tenant, 0)) then
    raise exception using errcode = 'TN423', message = 'a migration of these tables runs outside a transaction';
  end if;
  perform pg_advisory_xact_lock(hashtextextended('tenancy migrate ' || tenant, 0));
  if owned and obj_description(place, 'pg_namespace') is distinct from 'fastify-tenancy: tenant ' || tenant then
    raise exception using errcode = 'TN404', message = 'the tenant''s schema is not there';
  end if;
  -- A schema that is not to be had would be passed over in silence, and the tables made in the next of the search path.
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

-- Writes down that a migration has run, in the transaction in which it did, or without a checksum that it was taken back.
-- Its time is that since the one before, or since its own beginning where that is written down.
create function tenancy.record_migration(tenant text, migration text, sum text) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  started timestamptz := coalesce(
    (select tried_at from tenancy.migration_ledger where tenant_id = tenant and name = migration and applied_at is null and error is null),
    (select max(applied_at) from tenancy.migration_ledger where tenant_id = tenant and applied_at > transaction_timestamp()), transaction_timestamp());
begin
  if current_setting('tenancy.migrating', true) is distinct from 'tenant ' || tenant then
    raise exception using message = 'the migration ended the transaction that it ran in: take commit and rollback out of it';
  end if;
  if sum is null then
    delete from tenancy.migration_ledger where tenant_id = tenant and name = migration;
    return;
  end if;
  insert into tenancy.migration_ledger (tenant_id, name, checksum, applied_at, duration_ms)
  values (tenant, migration, sum, clock_timestamp(), extract(epoch from clock_timestamp() - started) * 1000)
  on conflict (tenant_id, name) do update set checksum = excluded.checksum, applied_at = excluded.applied_at,
    duration_ms = excluded.duration_ms, error = null, tried_at = excluded.tried_at;
end
$$;

-- Whether a tenant has come as far as a migration, for the application's login: it can ask for a tenant that it can name.
create function tenancy.has_migration(tenant text, wanted text) returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select exists (select from tenancy.migration_ledger where tenant_id = tenant and name = wanted and applied_at is not null)
$$;

revoke all on function tenancy.claim_migrations(text, text, boolean, int, text, boolean), tenancy.record_migration(text, text, text), tenancy.has_migration(text, text) from public;
