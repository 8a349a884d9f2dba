-- Which of the application's migrations have run: on the common tables of this database, and on
-- each tenant whose schema is here.
-- A tenant's own database gets the same objects from this file, so the file names no role.

create table tenancy.migration_ledger (
  -- '' for the common tables.
  tenant_id text collate "C" not null,
  name text collate "C" not null check (name <> ''),
  checksum text not null,
  -- Null while the last attempt failed: `error` then holds the reason. Both are null from the start
  -- to the end of a migration that runs outside a transaction. If both are null and no manager is
  -- at work, that migration crashed.
  applied_at timestamptz,
  duration_ms numeric(12, 1),
  error text,
  tried_at timestamptz not null default clock_timestamp(),
  primary key (tenant_id, name),
  check (applied_at is null or error is null)
);

-- Begins a migration transaction as the owner of this schema, who owns the tables. Serializes the
-- transactions of one tenant only, so that many tenants can migrate at once.
-- `registered`: whether the registry that decides is in this database.

-- Raises TN409 if the ledger differs from what the caller has read; TN404 if the tenant's schema is
-- missing or the tenant is being deleted; TN423 if a manager is at work on the tenant.
-- Raises TN423 also while a migration runs outside a transaction. Waiting here would hold a
-- snapshot that its CREATE INDEX CONCURRENTLY waits for.
create function tenancy.claim_migrations(
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
    if not pg_try_advisory_xact_lock(hashtextextended('tenancy tenant ' || tenant, 0)) then
      raise exception using errcode = 'TN423', message = 'a manager is at work on this tenant';
    end if;
    if not exists (select from tenancy.tenants
      where id = tenant and status not in ('deleting', 'deleted')) then
      raise exception using errcode = 'TN404', message = 'the tenant is being deleted';
    end if;
  end if;
  if not pg_try_advisory_xact_lock_shared(hashtextextended('tenancy migrate alone ' || tenant, 0)) then
    raise exception using errcode = 'TN423',
      message = 'a migration of these tables runs outside a transaction';
  end if;
  perform pg_advisory_xact_lock(hashtextextended('tenancy migrate ' || tenant, 0));
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

-- Records that a migration has run, in the migration's transaction. Without a checksum, records
-- that it was reverted. The duration counts from the previous migration, or from the migration's
-- own recorded start.
create function tenancy.record_migration(tenant text, migration text, sum text) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  started timestamptz := coalesce(
    (select tried_at from tenancy.migration_ledger
      where tenant_id = tenant and name = migration and applied_at is null and error is null),
    (select max(applied_at) from tenancy.migration_ledger
      where tenant_id = tenant and applied_at > transaction_timestamp()), transaction_timestamp());
begin
  if current_setting('tenancy.migrating', true) is distinct from 'tenant ' || tenant then
    raise exception using message =
      'the migration ended the transaction that it ran in: take commit and rollback out of it';
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

-- Returns whether the tenant has had a migration. The application's login may ask for any tenant
-- that it can name.
create function tenancy.has_migration(tenant text, wanted text) returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select exists (select from tenancy.migration_ledger
    where tenant_id = tenant and name = wanted and applied_at is not null)
$$;

revoke all on function tenancy.claim_migrations(text, text, boolean, int, text, boolean),
  tenancy.record_migration(text, text, text), tenancy.has_migration(text, text) from public;
