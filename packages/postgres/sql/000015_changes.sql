-- Every session may notify the channel `tenancy`. So it carries the id of a tenant that has changed, and the
-- listener reads here whether that is so, and which names are concerned.

-- Each change of a tenant, for a day. Names: those before and after it.
create table tenancy.changes (
  change uuid primary key default gen_random_uuid(),
  tenant_id text collate "C" not null,
  slugs text[] not null,
  domains text[] not null,
  changed_at timestamptz not null default clock_timestamp()
);

create index changes_tenant_id on tenancy.changes (tenant_id);
create index changes_changed_at on tenancy.changes (changed_at);

-- Of domains, those that are proved: a claim changes no answer.
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
    array(select distinct slug from unnest(array[before ->> 'slug', after ->> 'slug']) slug where slug is not null),
    array(select distinct domain from unnest(array[before ->> 'domain', after ->> 'domain']) domain where domain is not null));
  -- A few old ones with each new one, and none that another transaction is removing: the log stays short without a lock.
  delete from tenancy.changes where change in (
    select change from tenancy.changes where changed_at < now() - interval '1 day' order by changed_at limit 10 for update skip locked);
  perform pg_notify('tenancy', tenant);
  return null;
end
$$;

drop trigger announce on tenancy.tenants;
drop trigger announce on tenancy.domains;
drop function tenancy.announce();

create trigger note_change after insert or update or delete on tenancy.tenants
for each row execute function tenancy.note_change();
create trigger note_change after insert or update of tenant_id, domain, verified_at or delete on tenancy.domains
for each row execute function tenancy.note_change();

-- Of these tenants, or of all where `wanted` is null, those that have changed within an hour: their names of today, and each
-- change with its own. JSON text: [{ id, slugs, domains, changes: [{ change, slugs, domains }] }], of 1,001 tenants at most.
create function tenancy.changes_of(wanted text[]) returns text
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select coalesce(json_agg(json_build_object(
    'id', id,
    'slugs', array(select slug from tenancy.tenants where tenants.id = changed.id),
    'domains', array(select domain from tenancy.domains where tenant_id = changed.id and verified_at is not null order by domain),
    'changes', changes
  ) order by last), '[]')::text
  from (
    select tenant_id as id, max(changed_at) as last, json_agg(json_build_object('change', change, 'slugs', slugs, 'domains', domains) order by changed_at) as changes
    from tenancy.changes
    where changed_at > now() - interval '1 hour' and (wanted is null or tenant_id = any(wanted))
    group by tenant_id
    order by last desc
    limit 1001
  ) changed
$$;

revoke all on function tenancy.note_change(), tenancy.changes_of(text[]) from public;
grant execute on function tenancy.changes_of(text[]) to :"registry";
