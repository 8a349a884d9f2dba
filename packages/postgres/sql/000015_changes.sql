-- Every session may notify the channel `tenancy`. So a notification carries only the id of a
-- changed tenant. The listener reads here whether the tenant has changed, and which names are
-- concerned.

-- Each change of a tenant, kept for a day, with the names before and after the change.
create table tenancy.changes (
  change uuid primary key default gen_random_uuid(),
  tenant_id text collate "C" not null,
  slugs text[] not null,
  domains text[] not null,
  changed_at timestamptz not null default clock_timestamp()
);

create index changes_tenant_id on tenancy.changes (tenant_id);
create index changes_changed_at on tenancy.changes (changed_at);

-- Only proved domains count, because a claim changes no answer of a look-up.
create function tenancy.note_change() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  before jsonb := case when tg_op <> 'INSERT' then to_jsonb(old) end;
  after jsonb := case when tg_op <> 'DELETE' then to_jsonb(new) end;
  tenant text := coalesce(after, before) ->> case tg_table_name when 'tenants' then 'id' else 'tenant_id' end;
begin
  if tg_table_name = 'domains' and before ->> 'verified_at' is null and after ->> 'verified_at' is null then
    return null;
  end if;
  insert into tenancy.changes (tenant_id, slugs, domains)
  values (tenant,
    array(select distinct slug from unnest(array[before ->> 'slug', after ->> 'slug']) slug
      where slug is not null),
    array(select distinct domain from unnest(array[before ->> 'domain', after ->> 'domain']) domain
      where domain is not null));
  -- Each change removes a few old changes and skips locked rows: the log stays short without a
  -- lock.
  delete from tenancy.changes where change in (
    select change from tenancy.changes where changed_at < now() - interval '1 day'
      order by changed_at limit 10 for update skip locked);
  perform pg_notify('tenancy', tenant);
  return null;
end
$$;

drop trigger announce on tenancy.tenants;
drop trigger announce on tenancy.domains;
drop function tenancy.announce();

create trigger note_change after insert or update or delete on tenancy.tenants
for each row execute function tenancy.note_change();
create trigger note_change
after insert or update of tenant_id, domain, verified_at or delete on tenancy.domains
for each row execute function tenancy.note_change();

-- Returns the changes of these tenants, or of all tenants if `wanted` is null, within the last
-- hour: JSON text, [{ id, slugs, domains, changes: [{ change, slugs, domains }] }]. The outer
-- names are the current names, the inner names those of the change. At most 1,001 tenants.
create function tenancy.changes_of(wanted text[]) returns text
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select coalesce(json_agg(json_build_object(
    'id', id,
    'slugs', array(select slug from tenancy.tenants where tenants.id = changed.id),
    'domains', array(select domain from tenancy.domains
      where tenant_id = changed.id and verified_at is not null order by domain),
    'changes', changes
  ) order by last), '[]')::text
  from (
    select tenant_id as id, max(changed_at) as last,
      json_agg(json_build_object('change', change, 'slugs', slugs, 'domains', domains)
      order by changed_at) as changes
    from tenancy.changes
    where changed_at > now() - interval '1 hour' and (wanted is null or tenant_id = any(wanted))
    group by tenant_id
    order by last desc
    limit 1001
  ) changed
$$;

revoke all on function tenancy.note_change(), tenancy.changes_of(text[]) from public;
grant execute on function tenancy.changes_of(text[]) to :"registry";
