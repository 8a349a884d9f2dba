// Made by scripts/embed-sql.ts from sql/*.sql: edit those, then run `npm run embed-sql`.

/** The SQL files in order of application. `:"role"` stands for a role of this database. */
export const sqlFiles: readonly {
  readonly version: number
  readonly name: string
  readonly sql: string
}[] = [
  {
    version: 1,
    name: 'registry',
    sql: `-- The registry: which tenants exist, and which names (ids, slugs, domains) are taken.
-- Everything here belongs to the owner role. The application's role may read none of it.

create table tenancy.migrations (
  version int primary key,
  name text not null,
  applied_at timestamptz not null default now()
);

-- collate "C": look-ups and pages compare bytes, so every server orders the same way.
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

-- A deleted tenant keeps its row as a record and releases its slug.
create unique index tenants_slug on tenancy.tenants (slug) where status <> 'deleted';

-- Several tenants may claim a domain, but only one tenant can prove it. A claim alone must not
-- lock out the real owner of the domain.
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

-- Ids and slugs share one namespace, so that a bare name in a file or a command means one tenant.
-- The primary key decides between concurrent writers. A released slug stays taken until free_at.
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
    raise exception using errcode = 'check_violation', constraint = 'tenants_id_stays',
      message = 'the id of a tenant never changes';
  end if;
  if was is distinct from becomes and was is not null then
    update tenancy.names set free_at = now() + interval '30 days' where name = was;
  end if;
  if was is distinct from becomes or tg_op = 'INSERT' then
    -- In name order: otherwise two writers that take the same two names could deadlock.
    for claim in
      select wanted.name from (values (becomes), (case tg_op when 'INSERT' then new.id end)) wanted (name)
      where wanted.name is not null order by wanted.name collate "C"
    loop
      insert into tenancy.names as held (name, kind, tenant_id)
      values (claim, case claim when new.id then 'id' else 'slug' end, new.id)
      on conflict (name) do update set tenant_id = excluded.tenant_id, free_at = null
      where held.kind = 'slug'
        and (held.free_at <= now() or (held.free_at is not null and held.tenant_id = excluded.tenant_id));
      if not found then
        raise exception using errcode = 'unique_violation',
          constraint = case claim when new.id then 'names_id' else 'names_slug' end,
          message = 'the name is taken';
      end if;
    end loop;
  end if;
  return null;
end
$$;

create trigger hold_names after insert or update or delete on tenancy.tenants
for each row execute function tenancy.hold_names();

-- A trigger counts the version, so that a change by hand also invalidates cached copies.
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

-- Notifies every listener of each change to a tenant, however it was written. The notification
-- holds the tenant's id and all names that it had or has.
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
      select slug from tenancy.tenants where id = tenant union select before ->> 'slug'
        union select after ->> 'slug'
    ) slugs (name) where name is not null),
    'domains', (select coalesce(json_agg(distinct name), '[]') from (
      select domain from tenancy.domains where tenant_id = tenant union select before ->> 'domain'
        union select after ->> 'domain'
    ) domains (name) where name is not null)
  )::text;
  -- PostgreSQL limits a notification to 8,000 bytes.
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
    sql: `-- Look-ups by exact key. A caller can ask for a tenant that it can name, and cannot list tenants.
-- The answer is JSON text, so that no type parser of the caller's driver can change it.

create function tenancy.tenant_json(tenant tenancy.tenants) returns text
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select json_build_object(
    'id', tenant.id, 'slug', tenant.slug, 'name', tenant.name, 'status', tenant.status, 'plan', tenant.plan,
    'isolation', tenant.isolation, 'shard', tenant.shard,
    'schema', tenant.schema_name, 'database', tenant.database_name,
    'settings', tenant.settings, 'version', tenant.version,
    'createdAt', tenant.created_at, 'updatedAt', tenant.updated_at,
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
    sql: `-- The signed context: a policy trusts the tenant in a token, which only the application can make.
-- HMAC-SHA256 is sha256(outer || sha256(inner || message)). It needs no extension, because the two
-- padded keys are stored.

create table tenancy.signing_keys (
  id text primary key,
  inner_pad bytea not null check (length(inner_pad) = 64),
  outer_pad bytea not null check (length(outer_pad) = 64),
  created_at timestamptz not null default now()
);

-- Returns the tenant of the token in \`tenancy.token\`. Raises TN401 for every token that is not
-- valid, so that a refusal never looks like an account without rows.
-- The signature is checked first: a caller without a key gets no further detail, and nothing
-- unsigned is cast.

-- Expiry is compared with the start of the transaction, so that a long transaction keeps its
-- tenant. Parallel restricted, not safe, because a parallel worker has another pid. Plans stay
-- parallel, because the leader passes the result to its workers. The context asks for custom
-- plans. Without a plan mode of its own, this function would plan its query at every call.

-- Few expressions and no regular expression, because each is initialised in every transaction.
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
  select split_part(token, '|', 1), to_timestamp(split_part(token, '|', 2)::bigint / 1000.0),
    split_part(token, '|', 3) into tenant, expires, pid
  from tenancy.signing_keys
  where
    encode(sha256(outer_pad || sha256(inner_pad || convert_to(left(token, -65), 'UTF8'))), 'hex')
    = right(token, 64);
  if found and pid in ('0', pg_backend_pid()::text)
    and expires between now() - interval '30 seconds' and clock_timestamp() + interval '90 seconds'
  then
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

-- An equality that the planner does not treat as equality. A policy compares the column twice:
-- - by \`=\` with the plain setting, for the index and the statistics;
-- - by \`===\` with the verified tenant, which is the security check.
-- With \`=\` twice, the planner would merge both into one equivalence class.

-- It might then check only the plain setting, which any statement can change. Therefore \`===\` has
-- no commutator, negator, HASHES, MERGES or operator class.
-- neqsel estimates that nearly every remaining row passes, which keeps the first clause's estimate.
create operator tenancy.=== (
  function = pg_catalog.texteq, leftarg = text, rightarg = text, restrict = pg_catalog.neqsel
);
create operator tenancy.=== (
  function = pg_catalog.uuid_eq, leftarg = uuid, rightarg = uuid, restrict = pg_catalog.neqsel
);
create operator tenancy.=== (
  function = pg_catalog.int4eq, leftarg = int, rightarg = int, restrict = pg_catalog.neqsel
);
create operator tenancy.=== (
  function = pg_catalog.int8eq, leftarg = bigint, rightarg = bigint, restrict = pg_catalog.neqsel
);
`
  },
  {
    version: 4,
    name: 'tenant-roles',
    sql: `-- One database role per tenant. A policy trusts the tenant in the setting only if the statement's
-- role is that tenant's role.
-- The role's name is computed from the id, never the id from the name. Otherwise part of one
-- tenant's role name could be read as another tenant's id.

-- \`tenantRole()\` in core computes the same name. Both depend only on the id and the database, so
-- one policy serves all tenants.

-- Returns the tenant if \`role\` is the tenant's role in this database. Otherwise raises TN401, so
-- that a missing context never looks like an account without rows.
-- Callers pass current_user, because a policy must name everything that it depends on.
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
    raise exception using errcode = 'TN401',
      message = 'tenant context refused: the role is not the tenant''s';
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
    sql: `-- Lifecycle of tenants: unfinished operations, the audit, tenants that are locked out of this
-- database, and the proof of custom domains.
-- The registry's tables are used on the default shard, \`fences\` (later \`lockouts\`) on every shard.

-- One row for each operation of several steps. A crash leaves it unfinished. Repeating the call
-- resumes it after the last step in \`done\`.
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

-- One operation per tenant at a time: the second of two concurrent inserts violates this index.
create unique index operations_unfinished on tenancy.operations (tenant_id) where finished_at is null;

-- What was done to tenants, and by which actor. No foreign key, so that it outlives the tenants.
create table tenancy.audit (
  id bigint generated always as identity primary key,
  at timestamptz not null default now(),
  tenant_id text collate "C" not null,
  action text not null check (action <> ''),
  actor text not null default session_user,
  details jsonb not null default '{}' check (jsonb_typeof(details) = 'object')
);

create index audit_tenant on tenancy.audit (tenant_id, id);

-- Tenants whose deletion was requested: their status before, and when their data is removed.
create table tenancy.deletions (
  tenant_id text collate "C" primary key references tenancy.tenants on delete cascade,
  was text not null check (was in ('provisioning', 'active', 'suspended')),
  keeps_data boolean not null default false,
  asked_at timestamptz not null default now(),
  due_at timestamptz not null
);

-- Tenants that are locked out of this database. Every statement of a tenant checks this table, so
-- that a process with a stale cache gets an error and never writes.
-- The key is a hash of the id, so that a copy of the table reveals no ids. The row of a deleted
-- tenant stays for ever, because an id is never reused.
create table tenancy.fences (
  tenant bytea not null check (length(tenant) = 32),
  home text not null check (home in ('shared', 'schema')),
  reason text not null check (reason in ('suspended', 'moving', 'moved', 'deleting')),
  created_at timestamptz not null default now(),
  primary key (tenant, home)
);

-- A random value that changes with each change of a lockout. It is not a number, because a server
-- that lost its last transactions would count to the same number again.
create table tenancy.fence_epoch (
  is_the_one boolean primary key default true check (is_the_one),
  epoch text not null default gen_random_uuid()
);

-- The same value as a constant that the planner inlines into plans, so comparing with it is free.
-- Replacing the function invalidates those plans in every session, before the session's next
-- transaction begins.
create function tenancy.current_fence_epoch() returns text
language sql stable parallel safe as $$ select null::pg_catalog.text $$;

-- Serializes concurrent changes: the second one waits for this row before it replaces the function.
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
  execute format(
    'create or replace function tenancy.current_fence_epoch() returns text '
      || 'language sql stable parallel safe as %L',
    format('select %L::pg_catalog.text', new.epoch));
  return null;
end
$$;

create trigger end_fence_epoch after insert or update or delete or truncate on tenancy.fences
for each statement execute function tenancy.end_fence_epoch();

-- A row trigger, enabled always: replicated rows fire no statement trigger, and functions are not
-- replicated.
create trigger publish_fence_epoch after insert or update on tenancy.fence_epoch
for each row execute function tenancy.publish_fence_epoch();

alter table tenancy.fences enable always trigger end_fence_epoch;
alter table tenancy.fence_epoch enable always trigger publish_fence_epoch;

insert into tenancy.fence_epoch default values;

-- Raises an error if the tenant is locked out of this placement for a reason that the caller does
-- not name in \`known\`. Otherwise returns the current lockout version.
-- One snapshot reads both, so that a version never covers a later lockout.
-- See verified_tenant() for the plan mode.
create function tenancy.pass_fence(id text, at_home text, known text) returns text
language plpgsql stable parallel restricted security definer
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
as $$
declare
  barred text;
  seen text;
begin
  select reason into barred from tenancy.fences
    where tenant = sha256(convert_to(id, 'UTF8')) and home = at_home and reason <> known;
  if found then
    raise exception using
      errcode = case barred when 'suspended' then 'TN403' when 'deleting' then 'TN404' else 'TN503' end,
      message = 'tenant refused: ' || barred;
  end if;
  select epoch into strict seen from tenancy.fence_epoch;
  return seen;
end
$$;

revoke all on function tenancy.current_fence_epoch(), tenancy.end_fence_epoch(),
  tenancy.publish_fence_epoch(), tenancy.pass_fence(text, text, text) from public;
grant usage on schema tenancy to :"shared";
grant execute on function tenancy.current_fence_epoch(), tenancy.pass_fence(text, text, text)
  to :"app", :"shared";

-- A claim of a domain: the token that its DNS must show, the failed checks since, and when it
-- lapsed.
alter table tenancy.domains
  add token text,
  add checked_at timestamptz,
  add misses int not null default 0,
  add lapsed_at timestamptz;

-- A check that changes no answer of a look-up needs no notification.
drop trigger announce on tenancy.domains;
create trigger announce after insert or delete or update of tenant_id, domain, verified_at on tenancy.domains
for each row execute function tenancy.announce();
`
  },
  {
    version: 6,
    name: 'migrations',
    sql: `-- Which of the application's migrations have run: on the common tables of this database, and on
-- each tenant whose schema is here.
-- A tenant's own database gets the same objects from this file, so the file names no role.

create table tenancy.migration_ledger (
  -- '' for the common tables.
  tenant_id text collate "C" not null,
  name text collate "C" not null check (name <> ''),
  checksum text not null,
  -- Null while the last attempt failed: \`error\` then holds the reason. Both are null from the start
  -- to the end of a migration that runs outside a transaction. If both are null and no manager is
  -- at work, that migration crashed.
  applied_at timestamptz,
  duration_ms numeric(12, 1),
  error text,
  tried_at timestamptz not null default clock_timestamp(),
  primary key (tenant_id, name),
  check (applied_at is null or error is null)
);

-- Begins a migration transaction as the owner of this schema, who owns the tables. Serializes the
-- transactions of one tenant only, so that many tenants can migrate at once.
-- \`registered\`: whether the registry that decides is in this database.

-- Raises TN409 if the ledger differs from what the caller has read; TN404 if the tenant's schema is
-- missing or the tenant is being deleted; TN423 if a manager is at work on the tenant.
-- Raises TN423 also while a migration runs outside a transaction. Waiting here would hold a
-- snapshot that its CREATE INDEX CONCURRENTLY waits for.
create function tenancy.claim_migrations(
  tenant text, own_schema text, owned boolean, seen int, last text, registered boolean
) returns void
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
    if not exists (select from tenancy.tenants
      where id = tenant and status not in ('deleting', 'deleted')) then
      raise exception using errcode = 'TN404', message = 'the tenant is being deleted';
    end if;
  end if;
  if not pg_try_advisory_xact_lock_shared(hashtextextended('tenancy migrate alone ' || tenant, 0)) then
    raise exception using errcode = 'TN423',
      message = 'a migration of these tables runs outside a transaction';
  end if;
  perform pg_advisory_xact_lock(hashtextextended('tenancy migrate ' || tenant, 0));
  if owned
    and obj_description(place, 'pg_namespace') is distinct from 'fastify-tenancy: tenant ' || tenant
  then
    raise exception using errcode = 'TN404', message = 'the tenant''s schema is not there';
  end if;
  -- PostgreSQL skips an unusable schema of the search path silently. The migration would then
  -- create its tables in the next schema.
  if place is null or not has_schema_privilege(place, 'usage')
    or not has_schema_privilege(place, 'create') then
    raise exception using errcode = 'insufficient_privilege',
      message = format('the schema %I is not there, or the owner of the tables may not use it: '
        || 'grant usage, create on schema %I to %I', own_schema, own_schema, current_user);
  end if;
  select count(*), max(ledger.name) into count_now, last_now
  from tenancy.migration_ledger ledger where tenant_id = tenant and applied_at is not null;
  if count_now <> seen or last_now is distinct from last then
    raise exception using errcode = 'TN409', message = 'somebody else has migrated this tenant meanwhile';
  end if;
  -- Transaction-local, so record_migration() can check that it runs in the same transaction.
  perform set_config('tenancy.migrating', 'tenant ' || tenant, true);
end
$$;

-- Records that a migration has run, in the migration's transaction. Without a checksum, records
-- that it was reverted. The duration counts from the previous migration, or from the migration's
-- own recorded start.
create function tenancy.record_migration(tenant text, migration text, sum text) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  started timestamptz := coalesce(
    (select tried_at from tenancy.migration_ledger
      where tenant_id = tenant and name = migration and applied_at is null and error is null),
    (select max(applied_at) from tenancy.migration_ledger
      where tenant_id = tenant and applied_at > transaction_timestamp()), transaction_timestamp());
begin
  if current_setting('tenancy.migrating', true) is distinct from 'tenant ' || tenant then
    raise exception using message =
      'the migration ended the transaction that it ran in: take commit and rollback out of it';
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

-- Returns whether the tenant has had a migration. The application's login may ask for any tenant
-- that it can name.
create function tenancy.has_migration(tenant text, wanted text) returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select exists (select from tenancy.migration_ledger
    where tenant_id = tenant and name = wanted and applied_at is not null)
$$;

revoke all on function tenancy.claim_migrations(text, text, boolean, int, text, boolean),
  tenancy.record_migration(text, text, text), tenancy.has_migration(text, text) from public;
`
  },
  {
    version: 7,
    name: 'adoption',
    sql: `-- For a database that had data before it had tenants. Until its legacy code is gone, a trigger
-- fills the tenant column of the rows that this code writes. \`tenancy protect --stage prepare\`
-- creates the triggers, \`--stage enforce\` drops them.

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
`
  },
  {
    version: 8,
    name: 'moves',
    sql: `-- Tenants with two placements: a move is under way, or its old copy is kept until it is confirmed.
-- Used on the default shard. Placements are { isolation, placement }.
-- A placement may hold the input of \`tenants.decrypt\`, so it is stored only here and in
-- tenancy.tenants.
create table tenancy.moves (
  tenant_id text collate "C" primary key references tenancy.tenants on delete cascade,
  source jsonb not null check (jsonb_typeof(source) = 'object'),
  target jsonb not null check (jsonb_typeof(target) = 'object'),
  started_at timestamptz not null default now(),
  -- From here on the target is the tenant's placement, and the source is the copy.
  switched_at timestamptz
);
`
  },
  {
    version: 9,
    name: 'move-changes',
    sql: `-- While a tenant is copied to its new placement, it is served from the old placement. Triggers
-- there record which rows the tenant changes. \`tenancy move\` creates and drops the triggers. A
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
`
  },
  {
    version: 11,
    name: 'catalog-epoch',
    sql: `-- A random value that changes with each change of tables, functions, types and similar objects. The
-- context compares it, so a process with a stale catalog cache notices with its next statement.
-- '' if nothing records changes: that needs an event trigger, which \`tenancy init\` creates only if
-- its login is a superuser.

create function tenancy.current_catalog_epoch() returns text
language sql stable parallel safe as $$ select ''::pg_catalog.text $$;

-- Both values as one constant that the planner inlines into plans. A change replaces the functions.
create function tenancy.current_epoch() returns text
language sql stable parallel safe
as $$ select tenancy.current_fence_epoch() operator(pg_catalog.||) tenancy.current_catalog_epoch() $$;

-- Replaces the function of 000005. In addition raises TN410 if \`known\` ends with a catalog epoch
-- that is over: 'suspended 6fb0…' or ' 6fb0…'. Returns the lockout version from the table, and the
-- catalog epoch that the caller has passed in, because the caller's catalog cache belongs to that
-- epoch.
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
    raise exception using
      errcode = case barred when 'suspended' then 'TN403' when 'deleting' then 'TN404' else 'TN503' end,
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
    sql: `-- Locks for managers, migrations and set-up. Advisory locks are not enough, because a tenant's SQL
-- can take any advisory lock that it can name. No tenant role has a privilege on this table.
-- A tenant's own database gets the same objects from this file, so the file names no role.

create table tenancy.locks (
  name text collate "C" primary key,
  -- The backend that holds the lock, and a random key on which that backend holds an advisory lock.
  -- The end of the session frees the key, and so the lock. Another backend that takes the key
  -- changes nothing, because pid and key must both match.
  pid int not null,
  key bigint not null
);

-- Returns whether the session in a row still holds its lock.
create function tenancy.is_locked(pid int, key bigint) returns boolean
language sql set search_path = pg_catalog, pg_temp
as $$
  select exists (
    select from pg_locks held where held.locktype = 'advisory' and held.granted and held.objsubid = 1
      and held.pid = $1
      and held.database = (select oid from pg_database where datname = current_database())
      and held.classid::bigint = $2 >> 32 and held.objid::bigint = $2 & 4294967295)
$$;

-- Takes a session-level lock, which holds until give_lock() or the end of the session. Returns
-- false if another session has it, or a transaction that does not end within a second has it.
-- \`own_key\` is a random number from 0 to 2^62.
create function tenancy.take_lock(wanted text, own_key bigint) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '1s'
as $$
begin
  perform pg_advisory_lock(own_key);
  begin
    insert into tenancy.locks as held (name, pid, key) values (wanted, pg_backend_pid(), own_key)
    on conflict (name) do update set pid = excluded.pid, key = excluded.key
      where not tenancy.is_locked(held.pid, held.key);
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

-- Takes a transaction-level lock, and waits while another transaction has it. Returns false if
-- another session has it as a session-level lock.
-- The inserted row is deleted at once, so no other session sees it. A second transaction that
-- inserts the same name waits for the end of this transaction.
create function tenancy.await_lock(wanted text) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  holder int;
begin
  -- Look first: \`insert … on conflict\` would lock the row of the session that has the lock, and
  -- that session could not give it back.
  select held.pid into holder from tenancy.locks held
    where held.name = wanted and tenancy.is_locked(held.pid, held.key);
  if found then return holder = pg_backend_pid(); end if;
  insert into tenancy.locks as held (name, pid, key) values (wanted, 0, 0)
  on conflict (name) do update set pid = 0, key = 0 where not tenancy.is_locked(held.pid, held.key);
  if not found then return false; end if;
  delete from tenancy.locks where name = wanted;
  return true;
end
$$;

-- Like await_lock(), but returns false after a second of waiting.
create function tenancy.claim_lock(wanted text) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '1s'
as $$
begin
  return tenancy.await_lock(wanted);
exception when lock_not_available then
  return false;
end
$$;

-- Replaces the function of 000006: uses these locks instead of advisory locks.
create or replace function tenancy.claim_migrations(
  tenant text, own_schema text, owned boolean, seen int, last text, registered boolean
) returns void
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
    if not exists (select from tenancy.tenants
      where id = tenant and status not in ('deleting', 'deleted')) then
      raise exception using errcode = 'TN404', message = 'the tenant is being deleted';
    end if;
  end if;
  if not tenancy.await_lock('tenancy migrate ' || tenant) then
    raise exception using errcode = 'TN423',
      message = 'a migration of these tables runs outside a transaction';
  end if;
  if owned
    and obj_description(place, 'pg_namespace') is distinct from 'fastify-tenancy: tenant ' || tenant
  then
    raise exception using errcode = 'TN404', message = 'the tenant''s schema is not there';
  end if;
  -- PostgreSQL skips an unusable schema of the search path silently. The migration would then
  -- create its tables in the next schema.
  if place is null or not has_schema_privilege(place, 'usage')
    or not has_schema_privilege(place, 'create') then
    raise exception using errcode = 'insufficient_privilege',
      message = format('the schema %I is not there, or the owner of the tables may not use it: '
        || 'grant usage, create on schema %I to %I', own_schema, own_schema, current_user);
  end if;
  select count(*), max(ledger.name) into count_now, last_now
  from tenancy.migration_ledger ledger where tenant_id = tenant and applied_at is not null;
  if count_now <> seen or last_now is distinct from last then
    raise exception using errcode = 'TN409', message = 'somebody else has migrated this tenant meanwhile';
  end if;
  -- Transaction-local, so record_migration() can check that it runs in the same transaction.
  perform set_config('tenancy.migrating', 'tenant ' || tenant, true);
end
$$;

revoke all on function tenancy.is_locked(int, bigint), tenancy.take_lock(text, bigint),
  tenancy.give_lock(text, bigint), tenancy.await_lock(text), tenancy.claim_lock(text) from public;
`
  },
  {
    version: 14,
    name: 'signing-uses',
    sql: `-- Which keys running processes sign with, so that \`tenancy init\` removes no key that is in use.

-- One row per key, and none for an unknown key. Callers decide when a key was used, but they cannot
-- make this table grow.
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
  where key_id = key and exists (select from tenancy.signing_uses mine
    where mine.key_id = key for update skip locked);
end
$$;

revoke all on function tenancy.note_signing(text) from public;
`
  },
  {
    version: 15,
    name: 'changes',
    sql: `-- Every session may notify the channel \`tenancy\`. So a notification carries only the id of a
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

-- Returns the changes of these tenants, or of all tenants if \`wanted\` is null, within the last
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
`
  },
  {
    version: 16,
    name: 'installation',
    sql: `-- The id of this installation, which is part of every Redis key and channel. A copy of the database
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
`
  },
  {
    version: 18,
    name: 'audit',
    sql: `-- The audit is append-only. A row is never changed, and only prune_audit() removes rows, which
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
      || '\`tenancy prune-audit\` removes what is old, and nothing else is changed';
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
`
  },
  {
    version: 24,
    name: 'tenant-lists',
    sql: `-- Filtered lists. An index returns a page of tenants of one plan, strategy or shard in id order,
-- whatever share of all tenants matches.
-- Nearly all tenants are active, so only the other statuses are worth an index.
create index tenants_plan on tenancy.tenants (plan, id);
create index tenants_isolation on tenancy.tenants (isolation, id);
create index tenants_shard on tenancy.tenants (shard, id);
create index tenants_status on tenancy.tenants (status, id) where status <> 'active';

-- For listing the entries since a day, and for the deletion in prune_audit().
create index audit_at on tenancy.audit (at);
`
  },
  {
    version: 40,
    name: 'lockouts',
    sql: `-- Renames what 000005 called fences: a tenant that is locked out of this database has a row in
-- \`lockouts\`, and every change of that table makes a new lockout version.

alter table tenancy.fences rename to lockouts;
alter table tenancy.lockouts rename column home to placement;
alter table tenancy.lockouts rename constraint fences_pkey to lockouts_pkey;
alter table tenancy.lockouts rename constraint fences_tenant_check to lockouts_tenant_check;
alter table tenancy.lockouts rename constraint fences_home_check to lockouts_placement_check;
alter table tenancy.lockouts rename constraint fences_reason_check to lockouts_reason_check;

alter table tenancy.fence_epoch rename to lockout_version;
alter table tenancy.lockout_version rename column epoch to version;
alter table tenancy.lockout_version rename constraint fence_epoch_pkey to lockout_version_pkey;
alter table tenancy.lockout_version
  rename constraint fence_epoch_is_the_one_check to lockout_version_is_the_one_check;

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
  execute format(
    'create or replace function tenancy.current_lockout_version() returns text '
      || 'language sql stable parallel safe as %L',
    format('select %L::pg_catalog.text', new.version));
  return null;
end
$$;

-- The lockout version and the catalog epoch as one constant, which the planner writes into a plan.
create function tenancy.current_versions() returns text
language sql stable parallel safe
as $$ select tenancy.current_lockout_version() operator(pg_catalog.||) tenancy.current_catalog_epoch() $$;

-- Raises an error if the tenant is locked out of this placement for a reason that the caller does
-- not name in \`known\`. Raises TN410 if \`known\` ends with a catalog epoch that is over: 'suspended
-- 6fb0…'. Otherwise returns the lockout version, read by the same snapshot, and the caller's
-- catalog epoch. See verified_tenant() for the plan mode.
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
  where tenant = sha256(convert_to(id, 'UTF8')) and placement = of_placement
    and reason <> split_part(known, ' ', 1);
  if found then
    raise exception using
      errcode = case barred when 'suspended' then 'TN403' when 'deleting' then 'TN404' else 'TN503' end,
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
grant execute on function tenancy.current_versions(), tenancy.check_lockout(text, text, text)
  to :"app", :"shared";

-- Operations that an earlier version left unfinished resume where they stopped, under the new names
-- of their steps.
update tenancy.operations
set done = array_replace(array_replace(done, 'fence', 'lockout'), 'follow', 'catch-up')
where finished_at is null;
`
  },
  {
    version: 42,
    name: 'lock-names',
    sql: `-- Renames the functions of 000013 that take and return a session-level lock.

alter function tenancy.take_lock(text, bigint) rename to acquire_lock;
alter function tenancy.give_lock(text, bigint) rename to release_lock;
`
  }
]
