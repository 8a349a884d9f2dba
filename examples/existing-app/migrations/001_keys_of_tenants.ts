import { sql, type Kysely } from 'kysely'

/**
 * After the last day of the old code: keys contain the tenant, so that a task cannot name another
 * tenant's project. PostgreSQL checks keys without policies.
 */
export async function up (db: Kysely<unknown>): Promise<void> {
  await sql`alter table tasks drop constraint tasks_project_id_fkey`.execute(db)
  await sql`alter table projects drop constraint projects_pkey, add primary key (org_id, id)`.execute(db)
  await sql`
    alter table tasks drop constraint tasks_pkey, add primary key (tenant_id, id),
      add foreign key (tenant_id, project_id) references projects (org_id, id) on delete cascade`.execute(db)
}
