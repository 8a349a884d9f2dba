-- The signed context: a policy trusts the tenant in a token that only the application can have made.
-- HMAC-SHA256 is sha256(outer || sha256(inner || message)), which needs no extension: the two padded keys are stored.

create table tenancy.signing_keys (
  id text primary key,
  inner_pad bytea not null check (length(inner_pad) = 64),
  outer_pad bytea not null check (length(outer_pad) = 64),
  created_at timestamptz not null default now()
);

-- The tenant of the token in `tenancy.token`; raises TN401 for anything but a valid token, so that a refused
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
-- setting by `=`, for the index and the statistics, and with the verified tenant by `===`, for the truth.
-- Were both `=`, the planner would join them into one class and might check only the first, which any
-- statement can change. Hence: no commutator, negator, HASHES or MERGES, and no operator class.
-- neqsel: "nearly every row that is left passes", which keeps the first clause's estimate.
create operator tenancy.=== (function = pg_catalog.texteq, leftarg = text, rightarg = text, restrict = pg_catalog.neqsel);
create operator tenancy.=== (function = pg_catalog.uuid_eq, leftarg = uuid, rightarg = uuid, restrict = pg_catalog.neqsel);
create operator tenancy.=== (function = pg_catalog.int4eq, leftarg = int, rightarg = int, restrict = pg_catalog.neqsel);
create operator tenancy.=== (function = pg_catalog.int8eq, leftarg = bigint, rightarg = bigint, restrict = pg_catalog.neqsel);
