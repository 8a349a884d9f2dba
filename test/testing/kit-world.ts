// A database with three tenant tables and what applications put beside them, and pairs of tenants on it.
import { createManager, type Manager } from '@fastify-tenancy/manager'
import pg from 'pg'
import type { Test } from 'tap'

import { freshDatabase } from '../support/fresh.ts'

export const secret = 'a secret of the tests, 32 characters and more'
export const tables = { tenant: ['projects', 'tasks', 'members'] }

export interface World {
  readonly url: string
  readonly manager: Manager
  /** A pool of the superuser, past everything that the suite does. */
  readonly pool: pg.Pool
}

/** Closed when the test ends. */
export async function openWorld (t: Test): Promise<World> {
  const url = await freshDatabase(t)
  const pool = new pg.Pool({ connectionString: url, max: 4 })
  t.teardown(() => pool.end())
  const manager = createManager({ database: url, rls: { secret }, tables })
  t.teardown(() => manager.close())
  await manager.init()
  await pool.query(`
    create table projects (tenant_id uuid not null, id uuid not null default gen_random_uuid(),
      name text not null,
      webhook_url text, created_at timestamptz not null default clock_timestamp(),
        primary key (tenant_id, id));
    create table tasks (tenant_id uuid not null, id uuid not null default gen_random_uuid(),
      project_id uuid not null,
      title text not null, number serial, primary key (tenant_id, id),
      foreign key (tenant_id, project_id) references projects (tenant_id, id) on delete cascade);
    create table members (tenant_id uuid not null, id uuid not null default gen_random_uuid(),
      email text not null,
      primary key (tenant_id, id), unique (tenant_id, email))`)
  await manager.protect()
  await pool.query(`
    create view all_projects as select * from projects;
    create materialized view project_names as select name from projects;
    create function find_project (wanted uuid) returns setof projects language sql security definer as
      'select * from projects where id = wanted';
    grant select on all_projects, project_names to public`)
  return { url, manager, pool }
}

export interface Pair {
  readonly victim: { readonly id: string }
  readonly attacker: { readonly id: string }
}

let count = 0

/** Two new tenants. */
export async function newPair ({ manager }: World): Promise<Pair> {
  const n = ++count
  const [victim, attacker] = [
    await manager.create({ slug: `victim-${n}`, name: `The victim number ${n}` }),
    await manager.create({ slug: `attacker-${n}`, name: `The attacker number ${n}` })
  ]
  return { victim: { id: victim.id }, attacker: { id: attacker.id } }
}
