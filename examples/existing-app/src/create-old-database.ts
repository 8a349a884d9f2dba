// The database of the old application: tables and rows, before there were tenants.
import pg from 'pg'

import { oldUrl, ownerUrl } from './logins.ts'

export const acme = '0190f2a4-0000-7000-8000-00000000000a'
export const globex = '0190f2a4-0000-7000-8000-00000000000b'

const tables = `
  create table organizations (id uuid primary key, slug text not null unique, name text not null);
  create table projects (
    id uuid primary key default gen_random_uuid(),
    org_id uuid not null references organizations,
    name text not null
  );
  create table tasks (
    id uuid primary key default gen_random_uuid(),
    project_id uuid not null references projects on delete cascade,
    title text not null
  );
  create index on projects (org_id);
  create index on tasks (project_id)`

const rows = `
  insert into organizations values ('${acme}', 'acme', 'Acme'), ('${globex}', 'globex', 'Globex');
  insert into projects (org_id, name) select id, name || ' ' || n from organizations, generate_series(1, 3) n;
  insert into tasks (project_id, title) select id, 'Task of ' || name from projects, generate_series(1, 10)`

export async function createOldDatabase (): Promise<void> {
  const { username } = new URL(oldUrl)
  const password = decodeURIComponent(new URL(oldUrl).password).replaceAll("'", "''")
  await run(
    ownerUrl,
    `create role "${username}" login password '${password}';
     grant create, usage on schema public to "${username}"`
  )
  await run(oldUrl, `${tables};${rows}`)
}

async function run (url: string, text: string): Promise<void> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    await client.query(text)
  } finally {
    await client.end()
  }
}
