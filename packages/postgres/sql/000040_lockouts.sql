-- Renames what 000005 called fences: a tenant that is locked out of this database has a row in
-- `lockouts`, and every change of that table makes a new lockout version.

alter table tenancy.fences rename to lockouts;
alter table tenancy.lockouts rename column home to placement;
alter table tenancy.lockouts rename constraint fences_pkey to lockouts_pkey;
alter table tenancy.lockouts rename constraint fences_tenant_check to lockouts_tenant_check;
alter table tenancy.lockouts rename constraint fences_home_check to lockouts_placement_check;
alter table tenancy.lockouts rename constraint fences_reason_check to lockouts_reason_check;

alter table tenancy.fence_epoch rename to lockout_version;
alter table tenancy.lockout_version rename column epoch to version;
alter table tenancy.lockout_version rename constraint fence_epoch_pkey to lockout_version_pkey;
alter table tenancy.lockout_version
  rename constraint fence_epoch_is_the_one_check to lockout_version_is_the_one_check;

drop function tenancy.pass_fence(text, text, text);
drop function tenancy.current_epoch();
alter function tenancy.current_fence_epoch() rename to current_lockout_version;
alter function tenancy.end_fence_epoch() rename to end_lockout_version;
alter function tenancy.publish_fence_epoch() rename to publish_lockout_version;
alter trigger end_fence_epoch on tenancy.lockouts rename to end_lockout_version;
alter trigger publish_fence_epoch on tenancy.lockout_version rename to publish_lockout_version;

create or replace function tenancy.end_lockout_version() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  update tenancy.lockout_version set version = gen_random_uuid();
  return null;
end
$$;

create or replace function tenancy.publish_lockout_version() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  execute format(
    'create or replace function tenancy.current_lockout_version() returns text '
      || 'language sql stable parallel safe as %L',
    format('select %L::pg_catalog.text', new.version));
  return null;
end
$$;

-- The lockout version and the catalog epoch as one constant, which the planner writes into a plan.
create function tenancy.current_versions() returns text
language sql stable parallel safe
as $$ select tenancy.current_lockout_version() operator(pg_catalog.||) tenancy.current_catalog_epoch() $$;

-- Raises an error if the tenant is locked out of this placement for a reason that the caller does
-- not name in `known`. Raises TN410 if `known` ends with a catalog epoch that is over: 'suspended
-- 6fb0…'. Otherwise returns the lockout version, read by the same snapshot, and the caller's
-- catalog epoch. See verified_tenant() for the plan mode.
create function tenancy.check_lockout(id text, of_placement text, known text) returns text
language plpgsql stable parallel restricted security definer
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
as $$
declare
  catalog constant text := split_part(known, ' ', 2);
  barred text;
  seen text;
begin
  select reason into barred from tenancy.lockouts
  where tenant = sha256(convert_to(id, 'UTF8')) and placement = of_placement
    and reason <> split_part(known, ' ', 1);
  if found then
    raise exception using
      errcode = case barred when 'suspended' then 'TN403' when 'deleting' then 'TN404' else 'TN503' end,
      message = 'tenant refused: ' || barred;
  end if;
  if catalog <> '' and catalog <> tenancy.current_catalog_epoch() then
    raise exception using errcode = 'TN410', message = 'the catalog has changed';
  end if;
  select version into strict seen from tenancy.lockout_version;
  return seen || catalog;
end
$$;

revoke all on function tenancy.current_versions(), tenancy.check_lockout(text, text, text) from public;
grant execute on function tenancy.current_versions(), tenancy.check_lockout(text, text, text)
  to :"app", :"shared";

-- Operations that an earlier version left unfinished resume where they stopped, under the new names
-- of their steps.
update tenancy.operations
set done = array_replace(array_replace(done, 'fence', 'lockout'), 'follow', 'catch-up')
where finished_at is null;
