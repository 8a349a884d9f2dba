import type { Generated } from 'kysely'

/** The application's tables, as types for Kysely. */
export interface Schema {
  projects: { tenant_id: string; id: Generated<string>; name: string; created_at: Generated<Date> }
  tasks: {
    tenant_id: string
    id: Generated<string>
    project_id: string
    title: string
    created_at: Generated<Date>
  }
}

declare module 'fastify-tenancy' {
  interface Register {
    database: Schema
    tenantTables: 'projects' | 'tasks'
  }
}

/**
 * Creates the missing tables. If tenants share them, each row has a tenant column, and keys begin
 * with it, so that no foreign key can reference another tenant's row.
 */
export function tables (isShared: boolean): string {
  const column = isShared ? 'tenant_id uuid not null,' : ''
  const key = (name: string): string => isShared ? `tenant_id, ${name}` : name
  return `
    create table if not exists projects (
      ${column}
      id uuid not null default gen_random_uuid(),
      name text not null,
      created_at timestamptz not null default now(),
      primary key (${key('id')})
    );
    create table if not exists tasks (
      ${column}
      id uuid not null default gen_random_uuid(),
      project_id uuid not null,
      title text not null,
      created_at timestamptz not null default now(),
      primary key (${key('id')}),
      foreign key (${key('project_id')}) references projects (${key('id')}) on delete cascade
    );
    create index if not exists tasks_by_project on tasks (${key('project_id')});`
}
