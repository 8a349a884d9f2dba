-- The id of this installation, which is part of every Redis key and channel. A copy of the database
-- is another installation, so the id counts only with the server and database it was made for.
create table tenancy.installation (
  is_the_one boolean primary key default true check (is_the_one),
  id text not null check (id ~ '^[A-Za-z0-9_-]{1,63}$'),
  system_identifier text not null,
  database_oid oid not null,
  made_at timestamptz not null default now()
);

-- Returns where this database is: the server's cluster, and the database in it.
create function tenancy.place(out system_identifier text, out database_oid oid)
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select control.system_identifier::text, database.oid
  from pg_control_system() control, pg_database database where database.datname = current_database()
$$;

-- Returns the installation's id, and whether it was made for this database. No row if it has no id
-- yet.
create function tenancy.installation(out id text, out is_here boolean) returns setof record
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select made.id, (made.system_identifier, made.database_oid) = (place.system_identifier, place.database_oid)
  from tenancy.installation made, tenancy.place() place
$$;

revoke all on function tenancy.place(), tenancy.installation() from public;
grant execute on function tenancy.installation() to :"registry";

-- A tenant has at most 100 domains, claims included.
create function tenancy.bound_domains() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  -- The second of two concurrent inserts waits here for the first one's commit, and counts its row.
  perform from tenancy.tenants where id = new.tenant_id for no key update;
  if (select count(*) from tenancy.domains where tenant_id = new.tenant_id) > 100 then
    raise exception using errcode = 'check_violation', constraint = 'domains_bound',
      message = 'a tenant has at most 100 domains';
  end if;
  return null;
end
$$;

create trigger bound_domains after insert on tenancy.domains
for each row execute function tenancy.bound_domains();

revoke all on function tenancy.bound_domains() from public;
