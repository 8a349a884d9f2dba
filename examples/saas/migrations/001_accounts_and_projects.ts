import { sql, type Kysely } from 'kysely'

/** Global tables, which no tenant's statement reaches, and the tenants' tables. */
export async function up (db: Kysely<unknown>): Promise<void> {
  await sql`
    create table users (
      id uuid primary key default gen_random_uuid(),
      email text not null unique,
      password text not null
    )`.execute(db)
  await sql`
    create table memberships (
      tenant_id uuid not null,
      user_id uuid not null references users on delete cascade,
      role text not null check (role in ('owner', 'member')),
      primary key (tenant_id, user_id)
    )`.execute(db)
  await sql`
    create table invitations (
      token_hash text primary key,
      tenant_id uuid not null,
      email text not null,
      role text not null check (role in ('owner', 'member')),
      expires_at timestamptz not null
    )`.execute(db)
  await sql`
    create table projects (
      tenant_id uuid not null,
      id uuid not null default gen_random_uuid(),
      name text not null,
      created_at timestamptz not null default now(),
      primary key (tenant_id, id)
    )`.execute(db)
}
