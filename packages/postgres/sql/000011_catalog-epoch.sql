-- One value that is another one after each change of tables, functions, types and their like. The context compares it, so that a
-- process whose knowledge of the catalog is old hears of it with its next statement. '' where nothing tells of changes: that takes
-- an event trigger, which `tenancy init` makes where its login is a superuser's.

create function tenancy.current_catalog_epoch() returns text
language sql stable parallel safe as $$ select ''::pg_catalog.text $$;

-- Both epochs as one constant, which the planner writes into a plan: what tells of changes replaces the functions.
create function tenancy.current_epoch() returns text
language sql stable parallel safe as $$ select tenancy.current_fence_epoch() operator(pg_catalog.||) tenancy.current_catalog_epoch() $$;

-- As before, and raises TN410 where `known` ends with an epoch of the catalog that is over: 'suspended 6fb0…', or ' 6fb0…'.
-- What a process learns is the fences' epoch from the table and the catalog's that it came with: it knows no newer one.
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
    raise exception using errcode = case barred when 'suspended' then 'TN403' when 'deleting' then 'TN404' else 'TN503' end,
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
