import { createManager, type ManagerOptions } from '@fastify-tenancy/manager'
import type { openPool } from 'fastify-tenancy'

interface Options extends ManagerOptions {
  readonly database: ReturnType<typeof openPool>
}

const tables = `
  create table if not exists projects (
    tenant_id uuid not null,
    id uuid not null default gen_random_uuid(),
    name text not null,
    primary key (tenant_id, id)
  );
  create table if not exists tasks (
    tenant_id uuid not null,
    id uuid not null default gen_random_uuid(),
    project_id uuid not null,
    title text not null,
    primary key (tenant_id, id),
    foreign key (tenant_id, project_id) references projects (tenant_id, id) on delete cascade
  )`

/** Sets the database up. On a server a deployment does this, with drizzle-kit's SQL and `protect`. */
export async function setUp (options: Options): Promise<void> {
  const manager = createManager(options)
  await manager.init()
  await options.database.query(tables)
  await manager.protect()
  for (const slug of ['acme', 'globex'])
    if (await manager.get({ slug }) === undefined) await manager.create({ slug })
  await manager.close()
}
