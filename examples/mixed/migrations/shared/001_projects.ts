import { sql, type Kysely } from 'kysely'

/** The table that tenants of strategies rls and row share. */
export async function up (db: Kysely<unknown>): Promise<void> {
  await sql`
    create table projects (
      tenant_id uuid not null,
      id uuid not null default gen_random_uuid(),
      name text not null,
      primary key (tenant_id, id)
    )`.execute(db)
}
