-- Tenants that have two homes: a move that is under way, or one whose old copy is kept until it is confirmed.
-- Used on the default shard. Homes are { isolation, placement }; a placement may hold what `tenants.decrypt` makes a
-- URL of, and so stands nowhere else than here and in tenancy.tenants.
create table tenancy.moves (
  tenant_id text collate "C" primary key references tenancy.tenants on delete cascade,
  source jsonb not null check (jsonb_typeof(source) = 'object'),
  target jsonb not null check (jsonb_typeof(target) = 'object'),
  started_at timestamptz not null default now(),
  -- From here on the target is the tenant's home, and the source the copy.
  switched_at timestamptz
);
