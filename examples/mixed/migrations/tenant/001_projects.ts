import { sql, type Kysely } from 'kysely'

/** The same table in a tenant's own schema or database. It needs no tenant column. */
export async function up (db: Kysely<unknown>): Promise<void> {
  await sql`
    create table projects (
      id uuid primary key default gen_random_uuid(),
      name text not null
    )`.execute(db)
}
