-- While a tenant is copied to its new home it is served from the old one, and triggers there write down which rows it changes.
-- `tenancy move` makes the triggers and takes them away. A tenant's own database has the same, made from this very text: it names no role.

-- What has changed: the key of a row as text, column by column. Without a key: all of the table.
-- Read by snapshot: what one has seen, the next need not bring over again.
create table tenancy.move_changes (
  tenant_id text collate "C" not null,
  table_name text collate "C" not null,
  key text[],
  xid xid8 not null default pg_current_xact_id()
);

create index move_changes_tenant_id_xid on tenancy.move_changes (tenant_id, xid);

-- Arguments of the trigger: the tenant, the table (a partition has another name), and the columns of its key.
-- It runs as the owner of the log, which nobody else may touch: what the statement's role may write is its policy's matter.
create function tenancy.record_change() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
-- A key is read by another session: it must not depend on how this one writes values.
set datestyle = 'ISO, YMD' set intervalstyle = 'postgres' set timezone = 'UTC' set extra_float_digits = 1 set bytea_output = 'hex' set lc_monetary = 'C'
as $$
declare
  key text := (select string_agg(format('format(%L, ($1).%I)', '%s', name), ', ') from unnest(tg_argv[2:]) name);
  was text[];
  now text[];
begin
  if tg_level = 'ROW' and key is not null then
    begin
      if tg_op <> 'INSERT' then execute format('select array[%s]', key) into was using old; end if;
      if tg_op <> 'DELETE' then execute format('select array[%s]', key) into now using new; end if;
    exception when undefined_column then
      -- Renamed or dropped since: that is the move's matter, and no reason to refuse a tenant's write.
      was := null;
      now := null;
    end;
  end if;
  insert into tenancy.move_changes (tenant_id, table_name, key) values (tg_argv[0], tg_argv[1], coalesce(now, was));
  if was <> now then insert into tenancy.move_changes (tenant_id, table_name, key) values (tg_argv[0], tg_argv[1], was); end if;
  return null;
end
$$;

revoke all on table tenancy.move_changes from public;
revoke all on function tenancy.record_change() from public;
