-- For a database that had data before it had tenants. Until its legacy code is gone, a trigger
-- fills the tenant column of the rows that this code writes. `tenancy protect --stage prepare`
-- creates the triggers, `--stage enforce` drops them.

-- Trigger arguments: the tenant column, the expression that fills it, and the table's name in that
-- expression. The expression may name the row's other columns, alone or behind the table's name.
-- It runs with the rights of the role that writes the row.
create function tenancy.fill_tenant() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  tenant text;
begin
  -- Ends with the function, because the function sets a search path of its own.
  execute format('set local search_path = %I, pg_temp', tg_table_schema);
  execute format('select (%s)::text from (select ($1).*) %I', tg_argv[1], tg_argv[2]) into tenant using new;
  return jsonb_populate_record(new, jsonb_build_object(tg_argv[0], tenant));
end
$$;

-- The function acts with its caller's rights on its caller's own row.
grant execute on function tenancy.fill_tenant() to public;
