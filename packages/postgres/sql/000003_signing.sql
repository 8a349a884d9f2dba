-- The signed context: a policy trusts the tenant in a token, which only the application can make.
-- HMAC-SHA256 is sha256(outer || sha256(inner || message)). It needs no extension, because the two
-- padded keys are stored.

create table tenancy.signing_keys (
  id text primary key,
  inner_pad bytea not null check (length(inner_pad) = 64),
  outer_pad bytea not null check (length(outer_pad) = 64),
  created_at timestamptz not null default now()
);

-- Returns the tenant of the token in `tenancy.token`. Raises TN401 for every token that is not
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
-- - by `=` with the plain setting, for the index and the statistics;
-- - by `===` with the verified tenant, which is the security check.
-- With `=` twice, the planner would merge both into one equivalence class.

-- It might then check only the plain setting, which any statement can change. Therefore `===` has
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
