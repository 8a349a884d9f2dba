-- The audit is append-only. A row is never changed, and only prune_audit() removes rows, which
-- records its own call.
-- The owner of the schema could drop the trigger, because no privilege binds an owner. The doctor
-- reports the roles that could (D517).

create function tenancy.keep_audit() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  if tg_op = 'DELETE' and current_setting('tenancy.pruning', true) = pg_current_xact_id()::text then
    return old;
  end if;
  raise exception using errcode = 'TN403',
    message = 'tenancy.audit is kept as it was written: '
      || '`tenancy prune-audit` removes what is old, and nothing else is changed';
end
$$;

create trigger keep_audit before update or delete on tenancy.audit
for each row execute function tenancy.keep_audit();
create trigger keep_audit_whole before truncate on tenancy.audit
for each statement execute function tenancy.keep_audit();
-- Also for replicated writes (session_replication_role = replica).
alter table tenancy.audit enable always trigger keep_audit;
alter table tenancy.audit enable always trigger keep_audit_whole;

-- Removes the entries before a time, and returns their number.
create function tenancy.prune_audit(before timestamptz) returns bigint
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  removed bigint;
begin
  perform set_config('tenancy.pruning', pg_current_xact_id()::text, true);
  delete from tenancy.audit where at < before;
  get diagnostics removed = row_count;
  perform set_config('tenancy.pruning', '', true);
  -- The tenant id is empty, because this entry belongs to no tenant.
  insert into tenancy.audit (tenant_id, action, details)
    values ('', 'audit-prune', jsonb_build_object('before', before, 'removed', removed));
  return removed;
end
$$;

revoke all on function tenancy.keep_audit(), tenancy.prune_audit(timestamptz) from public;
