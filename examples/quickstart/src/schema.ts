import { sql, type Generated, type Kysely } from 'kysely'

/** The application's tables. Keys lead with the tenant, so that no foreign key can reach another tenant's row. */
export interface Schema {
  projects: { tenant_id: string, id: Generated<string>, name: string, created_at: Generated<Date> }
  tasks: { tenant_id: string, id: Generated<string>, project_id: string, title: string, created_at: Generated<Date> }
}

declare module 'fastify-tenancy' {
  interface Register {
    database: Schema
    tenantTables: 'projects' | 'tasks'
  }
}

/** Creates what is missing. Safe to run from several processes at once. */
export async function migrate (db: Kysely<unknown>): Promise<void> {
  await db.transaction().execute(async trx => {
    await sql`select pg_advisory_xact_lock(hashtext('quickstart'))`.execute(trx)
    await trx.schema.createTable('projects').ifNotExists()
      .addColumn('tenant_id', 'uuid', column => column.notNull())
      .addColumn('id', 'uuid', column => column.notNull().defaultTo(sql`gen_random_uuid()`))
      .addColumn('name', 'text', column => column.notNull())
      .addColumn('created_at', 'timestamptz', column => column.notNull().defaultTo(sql`now()`))
      .addPrimaryKeyConstraint('projects_pkey', ['tenant_id', 'id'])
      .execute()
    await trx.schema.createTable('tasks').ifNotExists()
      .addColumn('tenant_id', 'uuid', column => column.notNull())
      .addColumn('id', 'uuid', column => column.notNull().defaultTo(sql`gen_random_uuid()`))
      .addColumn('project_id', 'uuid', column => column.notNull())
      .addColumn('title', 'text', column => column.notNull())
      .addColumn('created_at', 'timestamptz', column => column.notNull().defaultTo(sql`now()`))
      .addPrimaryKeyConstraint('tasks_pkey', ['tenant_id', 'id'])
      .addForeignKeyConstraint('tasks_project', ['tenant_id', 'project_id'], 'projects', ['tenant_id', 'id'], key => key.onDelete('cascade'))
      .execute()
    await trx.schema.createIndex('tasks_by_project').ifNotExists().on('tasks').columns(['tenant_id', 'project_id']).execute()
  })
}
