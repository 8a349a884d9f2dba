-- A database that had data before it had tenants: until its old code is gone, a trigger fills the tenant column of the rows
-- which that code writes. `tenancy protect --stage prepare` makes the triggers, `--stage enforce` drops them.

-- Arguments of the trigger: the tenant column, the expression that fills it, and the name of the table in it. It may name the row's other columns, alone
-- or behind the table's name, and is worked out with the rights of whoever writes the row.
create function tenancy.fill_tenant() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  tenant text;
begin
  -- Ends with the function, which has a search path of its own.
  execute format('set local search_path = %I, pg_temp', tg_table_schema);
  execute format('select (%s)::text from (select ($1).*) %I', tg_argv[1], tg_argv[2]) into tenant using new;
  return jsonb_populate_record(new, jsonb_build_object(tg_argv[0], tenant));
end
$$;

-- It acts with its caller's rights on its caller's own row.
grant execute on function tenancy.fill_tenant() to public;
