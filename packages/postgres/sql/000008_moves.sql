-- Tenants with two placements: a move is under way, or its old copy is kept until it is confirmed.
-- Used on the default shard. Placements are { isolation, placement }.
-- A placement may hold the input of `tenants.decrypt`, so it is stored only here and in
-- tenancy.tenants.
create table tenancy.moves (
  tenant_id text collate "C" primary key references tenancy.tenants on delete cascade,
  source jsonb not null check (jsonb_typeof(source) = 'object'),
  target jsonb not null check (jsonb_typeof(target) = 'object'),
  started_at timestamptz not null default now(),
  -- From here on the target is the tenant's placement, and the source is the copy.
  switched_at timestamptz
);
