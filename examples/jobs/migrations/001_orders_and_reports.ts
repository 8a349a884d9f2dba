import { sql, type Kysely } from 'kysely'

export async function up (db: Kysely<unknown>): Promise<void> {
  await sql`
    create table orders (
      tenant_id uuid not null,
      id uuid not null default gen_random_uuid(),
      amount integer not null check (amount > 0),
      primary key (tenant_id, id)
    )`.execute(db)
  await sql`
    create table reports (
      tenant_id uuid not null,
      id uuid not null default gen_random_uuid(),
      total bigint,
      primary key (tenant_id, id)
    )`.execute(db)
  // A tenant table: a request writes it in the transaction that writes its other rows.
  await sql`
    create table outbox (
      tenant_id uuid not null,
      id uuid not null default gen_random_uuid(),
      report_id uuid not null,
      primary key (tenant_id, id)
    )`.execute(db)
}
