-- Which keys running processes sign with, so that `tenancy init` removes no key that is in use.

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
