// Made by scripts/embed-sql.ts from sql/*.sql: edit those, then run `npm run embed-sql`.

/** The SQL files in the order in which they are applied. `:"role"` stands for a role of this database. */
export const sqlFiles: readonly { readonly version: number, readonly name: string, readonly sql: string }[] = [
  {
    version: 1,
    name: 'registry',
    sql: `-- The registry: who the tenants are, and which names are spoken for.
-- Everything here belongs to the owner role; the application's role may read none of it.

create table tenancy.migrations (
  version int primary key,
  name text not null,
  applied_at timestamptz not null default now()
);

-- collate "C": look-ups and pages compare bytes, on every server alike.
create table tenancy.tenants (
  id text collate "C" primary key check (id ~ '^[A-Za-z0-9_-]{1,63}$'),
  slug text collate "C" not null check (
    slug ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'
    and slug !~ '^..--'
    and slug !~ '^[0-9]+$'
    and slug !~ '^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$'
  ),
  name text not null check (name <> ''),
  status text not null check (status in ('provisioning', 'active', 'suspended', 'deleting', 'deleted')),
  plan text not null check (plan <> ''),
  isolation text not null check (isolation in ('rls', 'row', 'schema', 'database')),
  shard text not null check (shard <> ''),
  schema_name text,
  database_name text,
  settings jsonb not null default '{}' check (jsonb_typeof(settings) = 'object'),
  version int not null default 1,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  check (id <> slug)
);

-- A deleted tenant keeps its row for the record, and gives its slug back.
create unique index tenants_slug on tenancy.tenants (slug) where status <> 'deleted';

-- Several tenants may claim a domain, one may prove it: a claim alone must not lock the real holder out.
create table tenancy.domains (
  tenant_id text collate "C" not null references tenancy.tenants on delete cascade,
  domain text collate "C" not null check (
    length(domain) <= 253
    and domain ~ '^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'
    and domain !~ '\\.[0-9]+$'
  ),
  verified_at timestamptz,
  created_at timestamptz not null default now(),
  primary key (tenant_id, domain)
);

create unique index domains_verified on tenancy.domains (domain) where verified_at is not null;

-- Ids and slugs share one space of names, so that a bare name in a file or a command means one tenant.
-- One primary key decides between any number of writers at once. A slug given up stays taken until free_at.
create table tenancy.names (
  name text collate "C" primary key,
  kind text not null check (kind in ('id', 'slug')),
  tenant_id text collate "C" not null,
  free_at timestamptz
);

create function tenancy.hold_names() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  was text := case when tg_op <> 'INSERT' and old.status <> 'deleted' then old.slug end;
  becomes text := case when tg_op <> 'DELETE' and new.status <> 'deleted' then new.slug end;
  claim text;
begin
  if tg_op = 'UPDATE' and new.id <> old.id then
    raise exception using errcode = 'check_violation', constraint = 'tenants_id_stays', message = 'the id of a tenant never changes';
  end if;
  if was is distinct from becomes and was is not null then
    update tenancy.names set free_at = now() + interval '30 days' where name = was;
  end if;
  if was is distinct from becomes or tg_op = 'INSERT' then
    -- In the order of the names: two writers who want the same two must not wait for each other.
    for claim in
      select wanted.name from (values (becomes), (case tg_op when 'INSERT' then new.id end)) wanted (name)
      where wanted.name is not null order by wanted.name collate "C"
    loop
      insert into tenancy.names as held (name, kind, tenant_id)
      values (claim, case claim when new.id then 'id' else 'slug' end, new.id)
      on conflict (name) do update set tenant_id = excluded.tenant_id, free_at = null
      where held.kind = 'slug' and (held.free_at <= now() or (held.free_at is not null and held.tenant_id = excluded.tenant_id));
      if not found then
        raise exception using errcode = 'unique_violation',
          constraint = case claim when new.id then 'names_id' else 'names_slug' end, message = 'the name is taken';
      end if;
    end loop;
  end if;
  return null;
end
$$;

create trigger hold_names after insert or update or delete on tenancy.tenants
for each row execute function tenancy.hold_names();

-- Counted here, so that an edit by hand also shows to whoever read the tenant before it.
create function tenancy.count_version() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  new.version := old.version + 1;
  new.updated_at := now();
  return new;
end
$$;

create trigger count_version before update on tenancy.tenants
for each row execute function tenancy.count_version();

-- Tells every listener which tenant changed and all names that it had or has, whoever wrote the change.
create function tenancy.announce() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  before jsonb := case when tg_op <> 'INSERT' then to_jsonb(old) end;
  after jsonb := case when tg_op <> 'DELETE' then to_jsonb(new) end;
  tenant text := coalesce(after, before) ->> case tg_table_name when 'tenants' then 'id' else 'tenant_id' end;
  change text;
begin
  change := json_build_object(
    'id', tenant,
    'slugs', (select coalesce(json_agg(distinct name), '[]') from (
      select slug from tenancy.tenants where id = tenant union select before ->> 'slug' union select after ->> 'slug'
    ) slugs (name) where name is not null),
    'domains', (select coalesce(json_agg(distinct name), '[]') from (
      select domain from tenancy.domains where tenant_id = tenant union select before ->> 'domain' union select after ->> 'domain'
    ) domains (name) where name is not null)
  )::text;
  -- A notification holds 8,000 bytes.
  perform pg_notify('tenancy', case when octet_length(change) < 7900 then change else 'all' end);
  return null;
end
$$;

create trigger announce after insert or update or delete on tenancy.tenants
for each row execute function tenancy.announce();
create trigger announce after insert or update or delete on tenancy.domains
for each row execute function tenancy.announce();

revoke all on function tenancy.hold_names(), tenancy.count_version(), tenancy.announce() from public;
grant usage on schema tenancy to :"registry";
grant select on tenancy.tenants, tenancy.domains to :"registry";
`
  },
  {
    version: 2,
    name: 'lookups',
    sql: `-- Look-ups by exact key: whoever may call them can ask for a tenant that it can name, and cannot list any.
-- The answer is JSON text, so that no type parser of the caller's driver can change it.

create function tenancy.tenant_json(tenant tenancy.tenants) returns text
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select json_build_object(
    'id', tenant.id, 'slug', tenant.slug, 'name', tenant.name, 'status', tenant.status, 'plan', tenant.plan,
    'isolation', tenant.isolation, 'shard', tenant.shard, 'schema', tenant.schema_name, 'database', tenant.database_name,
    'settings', tenant.settings, 'version', tenant.version, 'createdAt', tenant.created_at, 'updatedAt', tenant.updated_at,
    'domains', (
      select coalesce(json_agg(domain order by domain), '[]')
      from tenancy.domains where tenant_id = tenant.id and verified_at is not null
    )
  )::text
$$;

create function tenancy.tenant_by_slug(wanted text) returns text
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select tenancy.tenant_json(tenants) from tenancy.tenants where slug = wanted and status <> 'deleted'
$$;

create function tenancy.tenant_by_domain(wanted text) returns text
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select tenancy.tenant_json(tenants)
  from tenancy.domains join tenancy.tenants on tenants.id = domains.tenant_id
  where domain = wanted and verified_at is not null and status <> 'deleted'
$$;

create function tenancy.tenant_by_id(wanted text) returns text
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select tenancy.tenant_json(tenants) from tenancy.tenants where id = wanted
$$;

revoke all on function tenancy.tenant_json(tenancy.tenants), tenancy.tenant_by_slug(text),
  tenancy.tenant_by_domain(text), tenancy.tenant_by_id(text) from public;
grant execute on function tenancy.tenant_json(tenancy.tenants), tenancy.tenant_by_slug(text),
  tenancy.tenant_by_domain(text), tenancy.tenant_by_id(text) to :"registry";
`
  },
  {
    version: 3,
    name: 'signing',
    sql: `-- The signed context: a policy trusts the tenant in a token that only the application can have made.
-- HMAC-SHA256 is sha256(outer || sha256(inner || message)), which needs no extension: the two padded keys are stored.

create table tenancy.signing_keys (
  id text primary key,
  inner_pad bytea not null check (length(inner_pad) = 64),
  outer_pad bytea not null check (length(outer_pad) = 64),
  created_at timestamptz not null default now()
);

-- The tenant of the token in \`tenancy.token\`; raises TN401 for anything but a valid token, so that a refused
-- one never looks like an empty account. The signature comes first: only the holder of a key learns more, and nothing
-- is cast before it was found right.
-- Expiry is held against the transaction's start: a long transaction does not lose its tenant half-way.
-- Restricted, not safe: a parallel worker has another pid. Plans stay parallel: the leader hands the result down.
-- Its own plan mode: the context asks for custom plans, and the query in here would be planned anew at every call.
-- Few expressions, and no regular one: each is set up anew in every transaction.
create function tenancy.verified_tenant() returns text
language plpgsql stable parallel restricted security definer
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
as $$
declare
  -- <tenant>|<expiry in ms>|<pid>|<64 hexadecimal digits>
  token constant text := current_setting('tenancy.token', true);
  tenant text;
  expires timestamptz;
  pid text;
begin
  select split_part(token, '|', 1), to_timestamp(split_part(token, '|', 2)::bigint / 1000.0), split_part(token, '|', 3) into tenant, expires, pid
  from tenancy.signing_keys
  where encode(sha256(outer_pad || sha256(inner_pad || convert_to(left(token, -65), 'UTF8'))), 'hex') = right(token, 64);
  if found and pid in ('0', pg_backend_pid()::text) and expires between now() - interval '30 seconds' and clock_timestamp() + interval '90 seconds' then
    return tenant;
  end if;
  raise exception using errcode = 'TN401', message = 'tenant context refused: ' || case
    when coalesce(token, '') = '' then 'there is none'
    when tenant is null and cardinality(string_to_array(token, '|')) <> 4 then 'it is malformed'
    when tenant is null then 'no known key signed it'
    when pid not in ('0', pg_backend_pid()::text) then 'it belongs to another connection'
    when expires < now() then 'it has expired'
    else 'it is not valid yet'
  end;
end
$$;

revoke all on function tenancy.verified_tenant() from public;
grant usage on schema tenancy to :"app";
grant execute on function tenancy.verified_tenant() to :"app";

-- Equality that the planner does not take for equality. A policy compares the column twice: with the plain
-- setting by \`=\`, for the index and the statistics, and with the verified tenant by \`===\`, for the truth.
-- Were both \`=\`, the planner would join them into one class and might check only the first, which any
-- statement can change. Hence: no commutator, negator, HASHES or MERGES, and no operator class.
-- neqsel: "nearly every row that is left passes", which keeps the first clause's estimate.
create operator tenancy.=== (function = pg_catalog.texteq, leftarg = text, rightarg = text, restrict = pg_catalog.neqsel);
create operator tenancy.=== (function = pg_catalog.uuid_eq, leftarg = uuid, rightarg = uuid, restrict = pg_catalog.neqsel);
create operator tenancy.=== (function = pg_catalog.int4eq, leftarg = int, rightarg = int, restrict = pg_catalog.neqsel);
create operator tenancy.=== (function = pg_catalog.int8eq, leftarg = bigint, rightarg = bigint, restrict = pg_catalog.neqsel);
`
  },
  {
    version: 4,
    name: 'tenant-roles',
    sql: `-- A database role per tenant: a policy trusts the tenant in the setting only where the role of the statement is that tenant's.
-- The name is made from the id and never the other way round, so that no part of one tenant's name can be read as
-- another's id; core's tenantRole() makes the same. Both forms are of the id and the database alone: one policy serves all tenants.

-- The tenant, when \`role\` is the role of that tenant in this database; raises TN401 otherwise, so that
-- a missing context never looks like an empty account. To be called with current_user: inside, it would be the same,
-- but a policy must name what it depends on.
create function tenancy.role_tenant(tenant text, role name) returns text
language plpgsql stable parallel safe set search_path = pg_catalog, pg_temp
as $$
declare
  suffix text := '_' || substr(md5(current_database()), 1, 8);
  own text := case
    when length('tenant_' || tenant || suffix) <= 63 then 'tenant_' || tenant || suffix
    else 'tenanth_' || substr(encode(sha256(convert_to(tenant, 'UTF8')), 'hex'), 1, 46) || suffix
  end;
begin
  if coalesce(tenant, '') = '' or role is distinct from own::name then
    raise exception using errcode = 'TN401', message = 'tenant context refused: the role is not the tenant''s';
  end if;
  return tenant;
end
$$;

revoke all on function tenancy.role_tenant(text, name) from public;
grant execute on function tenancy.role_tenant(text, name) to :"app";
`
  },
  {
    version: 5,
    name: 'lifecycle',
    sql: `-- The lives of tenants: what was begun and is not finished, what was done, who is locked out of this database, and
-- how custom domains are proved. The registry's part is used on the default shard, fences on every shard.

-- One row for each operation of several steps. A crash leaves it unfinished; the same call takes it up where \`done\` ends.
create table tenancy.operations (
  id bigint generated always as identity primary key,
  tenant_id text collate "C" not null,
  kind text not null check (kind <> ''),
  input jsonb not null default '{}',
  done text[] not null default '{}',
  state jsonb not null default '{}' check (jsonb_typeof(state) = 'object'),
  error text,
  started_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  finished_at timestamptz
);

-- One at a time: of two that begin at once, the second meets the first one's row.
create unique index operations_unfinished on tenancy.operations (tenant_id) where finished_at is null;

-- What was done to tenants, by whom. Outlives them: no foreign key.
create table tenancy.audit (
  id bigint generated always as identity primary key,
  at timestamptz not null default now(),
  tenant_id text collate "C" not null,
  action text not null check (action <> ''),
  actor text not null default session_user,
  details jsonb not null default '{}' check (jsonb_typeof(details) = 'object')
);

create index audit_tenant on tenancy.audit (tenant_id, id);

-- Tenants whose deletion was asked for: what they were before, and when their data goes.
create table tenancy.deletions (
  tenant_id text collate "C" primary key references tenancy.tenants on delete cascade,
  was text not null check (was in ('provisioning', 'active', 'suspended')),
  keeps_data boolean not null default false,
  asked_at timestamptz not null default now(),
  due_at timestamptz not null
);

-- Who is locked out of the tenant's rows in this database. Every statement of a tenant asks here, whatever its process
-- believes: one that slept through the news gets an error, and never writes. The key is the id's hash, so that a copy of
-- the table tells no ids. A row of a deleted tenant stays for ever: an id is never given again.
create table tenancy.fences (
  tenant bytea not null check (length(tenant) = 32),
  home text not null check (home in ('shared', 'schema')),
  reason text not null check (reason in ('suspended', 'moving', 'moved', 'deleting')),
  created_at timestamptz not null default now(),
  primary key (tenant, home)
);

-- One value that is another one after each change of a fence. Not a number: a server that lost its last transactions would
-- count to the same one again.
create table tenancy.fence_epoch (
  is_the_one boolean primary key default true check (is_the_one),
  epoch text not null default gen_random_uuid()
);

-- The same value as a constant that the planner writes into a plan: comparing with it costs nothing. A change of a function
-- spoils the plans that it is written into, in every session, before the session's next transaction begins.
create function tenancy.current_fence_epoch() returns text
language sql stable parallel safe as $$ select null::pg_catalog.text $$;

-- Of two who change fences at once, the second waits here, and so they do not meet at the function.
create function tenancy.end_fence_epoch() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  update tenancy.fence_epoch set epoch = gen_random_uuid();
  return null;
end
$$;

create function tenancy.publish_fence_epoch() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  execute format('create or replace function tenancy.current_fence_epoch() returns text language sql stable parallel safe as %L',
    format('select %L::pg_catalog.text', new.epoch));
  return null;
end
$$;

create trigger end_fence_epoch after insert or update or delete or truncate on tenancy.fences
for each statement execute function tenancy.end_fence_epoch();

-- Of the row, and always: rows that replication brings fire no trigger of a statement, and functions are not replicated.
create trigger publish_fence_epoch after insert or update on tenancy.fence_epoch
for each row execute function tenancy.publish_fence_epoch();

alter table tenancy.fences enable always trigger end_fence_epoch;
alter table tenancy.fence_epoch enable always trigger publish_fence_epoch;

insert into tenancy.fence_epoch default values;

-- Raises where a tenant is locked out of its home, but for a reason that the caller knows of. Otherwise the epoch in which it
-- was not: both are read by one snapshot, so that an epoch never stands for a later fence.
-- Its own plan mode: the context asks for custom plans, and the queries in here would be planned anew at every call.
create function tenancy.pass_fence(id text, at_home text, known text) returns text
language plpgsql stable parallel restricted security definer
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
as $$
declare
  barred text;
  seen text;
begin
  select reason into barred from tenancy.fences where tenant = sha256(convert_to(id, 'UTF8')) and home = at_home and reason <> known;
  if found then
    raise exception using errcode = case barred when 'suspended' then 'TN403' when 'deleting' then 'TN404' else 'TN503' end,
      message = 'tenant refused: ' || barred;
  end if;
  select epoch into strict seen from tenancy.fence_epoch;
  return seen;
end
$$;

revoke all on function tenancy.current_fence_epoch(), tenancy.end_fence_epoch(), tenancy.publish_fence_epoch(), tenancy.pass_fence(text, text, text) from public;
grant usage on schema tenancy to :"shared";
grant execute on function tenancy.current_fence_epoch(), tenancy.pass_fence(text, text, text) to :"app", :"shared";

-- A claim of a domain: the token that its DNS must show, how often it was missed since, and when it stopped to count.
alter table tenancy.domains
  add token text,
  add checked_at timestamptz,
  add misses int not null default 0,
  add lapsed_at timestamptz;

-- A check that changes nothing for anybody is no news.
drop trigger announce on tenancy.domains;
create trigger announce after insert or delete or update of tenant_id, domain, verified_at on tenancy.domains
for each row execute function tenancy.announce();
`
  },
  {
    version: 6,
    name: 'migrations',
    sql: `-- Which of the application's own migrations have run: of the shared tables of this database, and of each tenant whose
-- schema is here. A tenant's own database has the same, made from this very text: it names no role.

create table tenancy.migration_ledger (
  -- '' for the shared tables.
  tenant_id text collate "C" not null,
  name text collate "C" not null check (name <> ''),
  checksum text not null,
  -- Null while the last attempt failed: then \`error\` says why. Both are null from the beginning of a migration that runs outside
  -- a transaction to its end: whoever finds it so, and nobody at work, knows of a crash.
  applied_at timestamptz,
  duration_ms numeric(12, 1),
  error text,
  tried_at timestamptz not null default clock_timestamp(),
  primary key (tenant_id, name),
  check (applied_at is null or error is null)
);

-- Begins a transaction of migrations, as the owner of this schema, who owns the tables: one at a time for each tenant.
-- Raises TN409 when the ledger is not as the caller has read it, TN404 when the tenant's schema is not there or the tenant is
-- on its way out, TN423 when a manager is at work on it. \`registered\`: whether the registry that decides is in this database.
-- The lock is of the tenant alone, so that as many tenants can be migrated at once as there are connections. TN423, too, while a
-- migration runs outside a transaction: who waited here would hold up its CREATE INDEX CONCURRENTLY, which waits for all snapshots.
create function tenancy.claim_migrations(tenant text, own_schema text, owned boolean, seen int, last text, registered boolean) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  place oid := (select oid from pg_namespace where nspname = own_schema);
  count_now int;
  last_now text;
begin
  perform set_config('role', pg_get_userbyid(nspowner), true) from pg_namespace where nspname = 'tenancy';
  if registered then
    if not pg_try_advisory_xact_lock(hashtextextended('tenancy tenant ' || tenant, 0)) then
      raise exception using errcode = 'TN423', message = 'a manager is at work on this tenant';
    end if;
    if not exists (select from tenancy.tenants where id = tenant and status not in ('deleting', 'deleted')) then
      raise exception using errcode = 'TN404', message = 'the tenant is being deleted';
    end if;
  end if;
  if not pg_try_advisory_xact_lock_shared(hashtextextended('tenancy migrate alone ' || tenant, 0)) then
    raise exception using errcode = 'TN423', message = 'a migration of these tables runs outside a transaction';
  end if;
  perform pg_advisory_xact_lock(hashtextextended('tenancy migrate ' || tenant, 0));
  if owned and obj_description(place, 'pg_namespace') is distinct from 'fastify-tenancy: tenant ' || tenant then
    raise exception using errcode = 'TN404', message = 'the tenant''s schema is not there';
  end if;
  -- A schema that is not to be had would be passed over in silence, and the tables made in the next of the search path.
  if place is null or not has_schema_privilege(place, 'usage') or not has_schema_privilege(place, 'create') then
    raise exception using errcode = 'insufficient_privilege',
      message = format('the schema %I is not there, or the owner of the tables may not use it: grant usage, create on schema %I to %I', own_schema, own_schema, current_user);
  end if;
  select count(*), max(ledger.name) into count_now, last_now
  from tenancy.migration_ledger ledger where tenant_id = tenant and applied_at is not null;
  if count_now <> seen or last_now is distinct from last then
    raise exception using errcode = 'TN409', message = 'somebody else has migrated this tenant meanwhile';
  end if;
  -- Gone with the transaction: for record_migration() to see that it is still this one.
  perform set_config('tenancy.migrating', 'tenant ' || tenant, true);
end
$$;

-- Writes down that a migration has run, in the transaction in which it did, or without a checksum that it was taken back.
-- Its time is that since the one before, or since its own beginning where that is written down.
create function tenancy.record_migration(tenant text, migration text, sum text) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  started timestamptz := coalesce(
    (select tried_at from tenancy.migration_ledger where tenant_id = tenant and name = migration and applied_at is null and error is null),
    (select max(applied_at) from tenancy.migration_ledger where tenant_id = tenant and applied_at > transaction_timestamp()), transaction_timestamp());
begin
  if current_setting('tenancy.migrating', true) is distinct from 'tenant ' || tenant then
    raise exception using message = 'the migration ended the transaction that it ran in: take commit and rollback out of it';
  end if;
  if sum is null then
    delete from tenancy.migration_ledger where tenant_id = tenant and name = migration;
    return;
  end if;
  insert into tenancy.migration_ledger (tenant_id, name, checksum, applied_at, duration_ms)
  values (tenant, migration, sum, clock_timestamp(), extract(epoch from clock_timestamp() - started) * 1000)
  on conflict (tenant_id, name) do update set checksum = excluded.checksum, applied_at = excluded.applied_at,
    duration_ms = excluded.duration_ms, error = null, tried_at = excluded.tried_at;
end
$$;

-- Whether a tenant has come as far as a migration, for the application's login: it can ask for a tenant that it can name.
create function tenancy.has_migration(tenant text, wanted text) returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select exists (select from tenancy.migration_ledger where tenant_id = tenant and name = wanted and applied_at is not null)
$$;

revoke all on function tenancy.claim_migrations(text, text, boolean, int, text, boolean), tenancy.record_migration(text, text, text), tenancy.has_migration(text, text) from public;
`
  },
  {
    version: 7,
    name: 'adoption',
    sql: `-- A database that had data before it had tenants: until its old code is gone, a trigger fills the tenant column of the rows
-- which that code writes. \`tenancy protect --stage prepare\` makes the triggers, \`--stage enforce\` drops them.

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
`
  },
  {
    version: 8,
    name: 'moves',
    sql: `-- Tenants that have two homes: a move that is under way, or one whose old copy is kept until it is confirmed.
-- Used on the default shard. Homes are { isolation, placement }; a placement may hold what \`tenants.decrypt\` makes a
-- URL of, and so stands nowhere else than here and in tenancy.tenants.
create table tenancy.moves (
  tenant_id text collate "C" primary key references tenancy.tenants on delete cascade,
  source jsonb not null check (jsonb_typeof(source) = 'object'),
  target jsonb not null check (jsonb_typeof(target) = 'object'),
  started_at timestamptz not null default now(),
  -- From here on the target is the tenant's home, and the source the copy.
  switched_at timestamptz
);
`
  },
  {
    version: 9,
    name: 'move-changes',
    sql: `-- While a tenant is copied to its new home it is served from the old one, and triggers there write down which rows it changes.
-- \`tenancy move\` makes the triggers and takes them away. A tenant's own database has the same, made from this very text: it names no role.

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
`
  },
  {
    version: 11,
    name: 'catalog-epoch',
    sql: `-- One value that is another one after each change of tables, functions, types and their like. The context compares it, so that a
-- process whose knowledge of the catalog is old hears of it with its next statement. '' where nothing tells of changes: that takes
-- an event trigger, which \`tenancy init\` makes where its login is a superuser's.

create function tenancy.current_catalog_epoch() returns text
language sql stable parallel safe as $$ select ''::pg_catalog.text $$;

-- Both epochs as one constant, which the planner writes into a plan: what tells of changes replaces the functions.
create function tenancy.current_epoch() returns text
language sql stable parallel safe as $$ select tenancy.current_fence_epoch() operator(pg_catalog.||) tenancy.current_catalog_epoch() $$;

-- As before, and raises TN410 where \`known\` ends with an epoch of the catalog that is over: 'suspended 6fb0…', or ' 6fb0…'.
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
`
  },
  {
    version: 13,
    name: 'locks',
    sql: `-- Locks of managers, of migrations and of set-up. An advisory lock would not do: a tenant's SQL can
-- take any that it can name. These are rows of a table on which no role of a tenant has a
-- privilege. A tenant's own database has the same, made from this very text: it names no role.

create table tenancy.locks (
  name text collate "C" primary key,
  -- The backend that holds it, and a random key of which that backend holds the advisory lock. A
  -- session that ends frees its key, and so the lock. Another backend that takes the key changes
  -- nothing: both must agree.
  pid int not null,
  key bigint not null
);

-- Whether the session that a row names is still there.
create function tenancy.is_locked(pid int, key bigint) returns boolean
language sql set search_path = pg_catalog, pg_temp
as $$
  select exists (
    select from pg_locks held where held.locktype = 'advisory' and held.granted and held.objsubid = 1 and held.pid = $1
      and held.database = (select oid from pg_database where datname = current_database())
      and held.classid::bigint = $2 >> 32 and held.objid::bigint = $2 & 4294967295)
$$;

-- Takes a lock of the session, which holds until give_lock() or its end. False where another
-- session has it, or a transaction that does not end within a second. \`key\` is a random number from
-- 0 to 2^62.
create function tenancy.take_lock(wanted text, own_key bigint) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '1s'
as $$
begin
  perform pg_advisory_lock(own_key);
  begin
    insert into tenancy.locks as held (name, pid, key) values (wanted, pg_backend_pid(), own_key)
    on conflict (name) do update set pid = excluded.pid, key = excluded.key where not tenancy.is_locked(held.pid, held.key);
    if found then return true; end if;
  exception when lock_not_available then null;
  end;
  perform pg_advisory_unlock(own_key);
  return false;
end
$$;

create function tenancy.give_lock(taken text, own_key bigint) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  delete from tenancy.locks where name = taken and pid = pg_backend_pid() and key = own_key;
  perform pg_advisory_unlock(own_key);
end
$$;

-- Takes a lock of the transaction, and waits for another transaction that has it. False where a
-- session has it, unless that is this one. The row is not there for others to see: who wants the
-- same name waits for the end of the transaction that made it.
create function tenancy.await_lock(wanted text) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  holder int;
begin
  -- Looked at first: the insert would lock the row of a session that has it, so that the session
  -- could not give it back.
  select held.pid into holder from tenancy.locks held where held.name = wanted and tenancy.is_locked(held.pid, held.key);
  if found then return holder = pg_backend_pid(); end if;
  insert into tenancy.locks as held (name, pid, key) values (wanted, 0, 0)
  on conflict (name) do update set pid = 0, key = 0 where not tenancy.is_locked(held.pid, held.key);
  if not found then return false; end if;
  delete from tenancy.locks where name = wanted;
  return true;
end
$$;

-- The same, without a long wait.
create function tenancy.claim_lock(wanted text) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '1s'
as $$
begin
  return tenancy.await_lock(wanted);
exception when lock_not_available then
  return false;
end
$$;

-- As before, with these locks in the place of advisory ones.
create or replace function tenancy.claim_migrations(tenant text, own_schema text, owned boolean, seen int, last text, registered boolean) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  place oid := (select oid from pg_namespace where nspname = own_schema);
  count_now int;
  last_now text;
begin
  perform set_config('role', pg_get_userbyid(nspowner), true) from pg_namespace where nspname = 'tenancy';
  if registered then
    if not tenancy.claim_lock('tenancy tenant ' || tenant) then
      raise exception using errcode = 'TN423', message = 'a manager is at work on this tenant';
    end if;
    if not exists (select from tenancy.tenants where id = tenant and status not in ('deleting', 'deleted')) then
      raise exception using errcode = 'TN404', message = 'the tenant is being deleted';
    end if;
  end if;
  if not tenancy.await_lock('tenancy migrate ' || tenant) then
    raise exception using errcode = 'TN423', message = 'a migration of these tables runs outside a transaction';
  end if;
  if owned and obj_description(place, 'pg_namespace') is distinct from 'fastify-tenancy: tenant ' || tenant then
    raise exception using errcode = 'TN404', message = 'the tenant''s schema is not there';
  end if;
  -- A schema that is not to be had would be passed over in silence, and the tables made in the next
  -- of the search path.
  if place is null or not has_schema_privilege(place, 'usage') or not has_schema_privilege(place, 'create') then
    raise exception using errcode = 'insufficient_privilege',
      message = format('the schema %I is not there, or the owner of the tables may not use it: grant usage, create on schema %I to %I', own_schema, own_schema, current_user);
  end if;
  select count(*), max(ledger.name) into count_now, last_now
  from tenancy.migration_ledger ledger where tenant_id = tenant and applied_at is not null;
  if count_now <> seen or last_now is distinct from last then
    raise exception using errcode = 'TN409', message = 'somebody else has migrated this tenant meanwhile';
  end if;
  -- Gone with the transaction: for record_migration() to see that it is still this one.
  perform set_config('tenancy.migrating', 'tenant ' || tenant, true);
end
$$;

revoke all on function tenancy.is_locked(int, bigint), tenancy.take_lock(text, bigint), tenancy.give_lock(text, bigint),
  tenancy.await_lock(text), tenancy.claim_lock(text) from public;
`
  },
  {
    version: 14,
    name: 'signing-uses',
    sql: `-- Which keys running processes sign with, so that \`tenancy init\` takes none away under them.

-- One row for a key, and none for a key that is not known: callers decide when it was used, and not
-- how large this gets.
create table tenancy.signing_uses (
  key_id text primary key,
  used_at timestamptz not null default now()
);

-- Called by each process at its boot and every ten minutes.
create function tenancy.note_signing(key text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '1s'
as $$
begin
  if not exists (select from tenancy.signing_keys where id = key) then return; end if;
  insert into tenancy.signing_uses (key_id) values (key) on conflict do nothing;
  update tenancy.signing_uses set used_at = clock_timestamp()
  where key_id = key and exists (select from tenancy.signing_uses mine where mine.key_id = key for update skip locked);
end
$$;

revoke all on function tenancy.note_signing(text) from public;
`
  },
  {
    version: 15,
    name: 'changes',
    sql: `-- Every session may notify the channel \`tenancy\`. So it carries the id of a tenant that has changed, and the
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

-- Of these tenants, or of all where \`wanted\` is null, those that have changed within an hour: their names of today, and each
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
`
  },
  {
    version: 16,
    name: 'installation',
    sql: `-- Which installation this database is: a name that every key and channel of Redis carries. A copy of the database is another
-- installation, so the name counts only together with the server and the database that it was made for.
create table tenancy.installation (
  is_the_one boolean primary key default true check (is_the_one),
  id text not null check (id ~ '^[A-Za-z0-9_-]{1,63}$'),
  system_identifier text not null,
  database_oid oid not null,
  made_at timestamptz not null default now()
);

-- Where this database is: the cluster of the server, and the database in it.
create function tenancy.place(out system_identifier text, out database_oid oid)
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select control.system_identifier::text, database.oid
  from pg_control_system() control, pg_database database where database.datname = current_database()
$$;

-- The name of this installation, and whether it was made for this database. No row: none was made yet.
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
  -- Of two that insert at once, the second waits here for the first one's commit, and counts its row.
  perform from tenancy.tenants where id = new.tenant_id for no key update;
  if (select count(*) from tenancy.domains where tenant_id = new.tenant_id) > 100 then
    raise exception using errcode = 'check_violation', constraint = 'domains_bound', message = 'a tenant has at most 100 domains';
  end if;
  return null;
end
$$;

create trigger bound_domains after insert on tenancy.domains
for each row execute function tenancy.bound_domains();

revoke all on function tenancy.bound_domains() from public;
`
  },
  {
    version: 18,
    name: 'audit',
    sql: `-- The audit is written once. A row is never changed, and leaves only through prune_audit(), which writes down that it was called. The owner of the
-- schema can drop the trigger: what keeps a table from its owner is no privilege. The doctor names the roles that could (D517).

create function tenancy.keep_audit() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  if tg_op = 'DELETE' and current_setting('tenancy.pruning', true) = pg_current_xact_id()::text then
    return old;
  end if;
  raise exception using errcode = 'TN403', message = 'tenancy.audit is kept as it was written: \`tenancy prune-audit\` removes what is old, and nothing else is changed';
end
$$;

create trigger keep_audit before update or delete on tenancy.audit
for each row execute function tenancy.keep_audit();
create trigger keep_audit_whole before truncate on tenancy.audit
for each statement execute function tenancy.keep_audit();
-- Also for what is written as if it were replicated.
alter table tenancy.audit enable always trigger keep_audit;
alter table tenancy.audit enable always trigger keep_audit_whole;

-- Removes what was written before a time, and answers how many rows that were.
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
  -- Of no tenant: an id is never empty.
  insert into tenancy.audit (tenant_id, action, details) values ('', 'audit-prune', jsonb_build_object('before', before, 'removed', removed));
  return removed;
end
$$;

revoke all on function tenancy.keep_audit(), tenancy.prune_audit(timestamptz) from public;
`
  },
  {
    version: 24,
    name: 'tenant-lists',
    sql: `-- Filtered lists. A page of tenants of one plan, strategy or shard is read from an index in the order
-- of the ids, whatever share of all tenants that is. Nearly all tenants are active: only the other
-- statuses are worth an index.
create index tenants_plan on tenancy.tenants (plan, id);
create index tenants_isolation on tenancy.tenants (isolation, id);
create index tenants_shard on tenancy.tenants (shard, id);
create index tenants_status on tenancy.tenants (status, id) where status <> 'active';

-- For the entries since a day, and for those that prune_audit() removes.
create index audit_at on tenancy.audit (at);
`
  },
  {
    version: 40,
    name: 'lockouts',
    sql: `-- The field's names: a tenant that is locked out of this database has a row in \`lockouts\`, and every
-- change of that table makes a new lockout version.

alter table tenancy.fences rename to lockouts;
alter table tenancy.lockouts rename column home to placement;
alter table tenancy.lockouts rename constraint fences_pkey to lockouts_pkey;
alter table tenancy.lockouts rename constraint fences_tenant_check to lockouts_tenant_check;
alter table tenancy.lockouts rename constraint fences_home_check to lockouts_placement_check;
alter table tenancy.lockouts rename constraint fences_reason_check to lockouts_reason_check;

alter table tenancy.fence_epoch rename to lockout_version;
alter table tenancy.lockout_version rename column epoch to version;
alter table tenancy.lockout_version rename constraint fence_epoch_pkey to lockout_version_pkey;
alter table tenancy.lockout_version rename constraint fence_epoch_is_the_one_check to lockout_version_is_the_one_check;

drop function tenancy.pass_fence(text, text, text);
drop function tenancy.current_epoch();
alter function tenancy.current_fence_epoch() rename to current_lockout_version;
alter function tenancy.end_fence_epoch() rename to end_lockout_version;
alter function tenancy.publish_fence_epoch() rename to publish_lockout_version;
alter trigger end_fence_epoch on tenancy.lockouts rename to end_lockout_version;
alter trigger publish_fence_epoch on tenancy.lockout_version rename to publish_lockout_version;

create or replace function tenancy.end_lockout_version() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  update tenancy.lockout_version set version = gen_random_uuid();
  return null;
end
$$;

create or replace function tenancy.publish_lockout_version() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  execute format('create or replace function tenancy.current_lockout_version() returns text language sql stable parallel safe as %L',
    format('select %L::pg_catalog.text', new.version));
  return null;
end
$$;

-- The lockout version and the catalog epoch as one constant, which the planner writes into a plan.
create function tenancy.current_versions() returns text
language sql stable parallel safe as $$ select tenancy.current_lockout_version() operator(pg_catalog.||) tenancy.current_catalog_epoch() $$;

-- Raises an error if the tenant is locked out of this placement for a reason that the caller does not
-- name in \`known\`. Raises TN410 if \`known\` ends with a catalog epoch that is over: 'suspended 6fb0…'.
-- Otherwise returns the lockout version, read by the same snapshot, and the caller's catalog epoch.
-- The function has a plan mode of its own, because the context asks for custom plans, and the
-- statements in here would be planned anew at every call.
create function tenancy.check_lockout(id text, of_placement text, known text) returns text
language plpgsql stable parallel restricted security definer
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
as $$
declare
  catalog constant text := split_part(known, ' ', 2);
  barred text;
  seen text;
begin
  select reason into barred from tenancy.lockouts
  where tenant = sha256(convert_to(id, 'UTF8')) and placement = of_placement and reason <> split_part(known, ' ', 1);
  if found then
    raise exception using errcode = case barred when 'suspended' then 'TN403' when 'deleting' then 'TN404' else 'TN503' end,
      message = 'tenant refused: ' || barred;
  end if;
  if catalog <> '' and catalog <> tenancy.current_catalog_epoch() then
    raise exception using errcode = 'TN410', message = 'the catalog has changed';
  end if;
  select version into strict seen from tenancy.lockout_version;
  return seen || catalog;
end
$$;

revoke all on function tenancy.current_versions(), tenancy.check_lockout(text, text, text) from public;
grant execute on function tenancy.current_versions(), tenancy.check_lockout(text, text, text) to :"app", :"shared";

-- Operations that an earlier version left unfinished go on where they stopped: their steps have new names, too.
update tenancy.operations set done = array_replace(array_replace(done, 'fence', 'lockout'), 'follow', 'catch-up')
where finished_at is null;
`
  }
]
