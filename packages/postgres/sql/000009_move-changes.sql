-- While a tenant is copied to its new placement, it is served from the old placement. Triggers
-- there record which rows the tenant changes. `tenancy move` creates and drops the triggers. A
-- tenant's own database gets the same objects from this file, so the file names no role.

-- Changed rows: the key of each row as text, column by column. A null key means the whole table.
-- Readers use snapshots: a change that one snapshot contains need not be copied by the next.
create table tenancy.move_changes (
  tenant_id text collate "C" not null,
  table_name text collate "C" not null,
  key text[],
  xid xid8 not null default pg_current_xact_id()
);

create index move_changes_tenant_id_xid on tenancy.move_changes (tenant_id, xid);

-- Trigger arguments: the tenant, the table (a partition has another name), and its key columns.
-- It runs as the owner of the log, and no other role has a privilege on the log. Policies decide
-- what the statement's role may write.
create function tenancy.record_change() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
-- Another session reads the key, so its text must not depend on this session's output settings.
set datestyle = 'ISO, YMD' set intervalstyle = 'postgres' set timezone = 'UTC'
set extra_float_digits = 1 set bytea_output = 'hex' set lc_monetary = 'C'
as $$
declare
  key text := (select string_agg(format('format(%L, ($1).%I)', '%s', name), ', ')
    from unnest(tg_argv[2:]) name);
  was text[];
  now text[];
begin
  if tg_level = 'ROW' and key is not null then
    begin
      if tg_op <> 'INSERT' then execute format('select array[%s]', key) into was using old; end if;
      if tg_op <> 'DELETE' then execute format('select array[%s]', key) into now using new; end if;
    exception when undefined_column then
      -- A key column was renamed or dropped since. The move handles that; the tenant's write goes
      -- on.
      was := null;
      now := null;
    end;
  end if;
  insert into tenancy.move_changes (tenant_id, table_name, key)
    values (tg_argv[0], tg_argv[1], coalesce(now, was));
  if was <> now then
    insert into tenancy.move_changes (tenant_id, table_name, key) values (tg_argv[0], tg_argv[1], was);
  end if;
  return null;
end
$$;

revoke all on table tenancy.move_changes from public;
revoke all on function tenancy.record_change() from public;
