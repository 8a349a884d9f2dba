-- A random value that changes with each change of tables, functions, types and similar objects. The
-- context compares it, so a process with a stale catalog cache notices with its next statement.
-- '' if nothing records changes: that needs an event trigger, which `tenancy init` creates only if
-- its login is a superuser.

create function tenancy.current_catalog_epoch() returns text
language sql stable parallel safe as $$ select ''::pg_catalog.text $$;

-- Both values as one constant that the planner inlines into plans. A change replaces the functions.
create function tenancy.current_epoch() returns text
language sql stable parallel safe
as $$ select tenancy.current_fence_epoch() operator(pg_catalog.||) tenancy.current_catalog_epoch() $$;

-- Replaces the function of 000005. In addition raises TN410 if `known` ends with a catalog epoch
-- that is over: 'suspended 6fb0…' or ' 6fb0…'. Returns the lockout version from the table, and the
-- catalog epoch that the caller has passed in, because the caller's catalog cache belongs to that
-- epoch.
create or replace function tenancy.pass_fence(id text, at_home text, known text) returns text
language plpgsql stable parallel restricted security definer
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
as $$
declare
  catalog constant text := split_part(known, ' ', 2);
  barred text;
  seen text;
begin
  select reason into barred from tenancy.fences
  where tenant = sha256(convert_to(id, 'UTF8')) and home = at_home and reason <> split_part(known, ' ', 1);
  if found then
    raise exception using
      errcode = case barred when 'suspended' then 'TN403' when 'deleting' then 'TN404' else 'TN503' end,
      message = 'tenant refused: ' || barred;
  end if;
  if catalog <> '' and catalog <> tenancy.current_catalog_epoch() then
    raise exception using errcode = 'TN410', message = 'the catalog has changed';
  end if;
  select epoch into strict seen from tenancy.fence_epoch;
  return seen || catalog;
end
$$;

revoke all on function tenancy.current_catalog_epoch(), tenancy.current_epoch() from public;
grant execute on function tenancy.current_catalog_epoch(), tenancy.current_epoch() to :"app", :"shared";
