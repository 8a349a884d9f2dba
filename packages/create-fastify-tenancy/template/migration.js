import { sql/*::, type Kysely */ } from 'kysely'

export async function up (db/*: Kysely<unknown> */)/*: Promise<void> */ {
  // #if shared
  // Keys begin with the tenant, so that no row can refer to another tenant's row.
  await sql`
    create table projects (
      tenant_id uuid not null,
      id uuid not null default gen_random_uuid(),
      name text not null,
      created_at timestamptz not null default now(),
      primary key (tenant_id, id)
    )`.execute(db)
  await sql`
    create table tasks (
      tenant_id uuid not null,
      id uuid not null default gen_random_uuid(),
      project_id uuid not null,
      title text not null,
      created_at timestamptz not null default now(),
      primary key (tenant_id, id),
      foreign key (tenant_id, project_id) references projects (tenant_id, id) on delete cascade
    )`.execute(db)
  await sql`create index tasks_of_project on tasks (tenant_id, project_id)`.execute(db)
  // #end
  // #if !shared
  // Runs once for each tenant, in the tables that this tenant alone has.
  await sql`
    create table projects (
      id uuid primary key default gen_random_uuid(),
      name text not null,
      created_at timestamptz not null default now()
    )`.execute(db)
  await sql`
    create table tasks (
      id uuid primary key default gen_random_uuid(),
      project_id uuid not null references projects on delete cascade,
      title text not null,
      created_at timestamptz not null default now()
    )`.execute(db)
  await sql`create index tasks_of_project on tasks (project_id)`.execute(db)
  // #end
}

export async function down (db/*: Kysely<unknown> */)/*: Promise<void> */ {
  await sql`drop table tasks, projects`.execute(db)
}
