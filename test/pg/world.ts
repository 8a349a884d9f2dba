// Two tenants with projects and tasks in tables that they share, and a database that holds the rows
// of one of them only.
import { toTenant, type Isolation } from '@fastify-tenancy/core'
import { TenantScope } from '@fastify-tenancy/core/scope'
import type { DatabaseRuntime } from '@fastify-tenancy/database'
import pg from 'pg'
import type { Test } from 'tap'

import { protect } from '../../packages/postgres/src/policies/protect.ts'
import { freshDatabase } from '../support/fresh.ts'
import { open, provision, type Provisioned } from '../support/tenants.ts'

const silent = { info () {}, warn () {}, error () {} }

export interface World {
  readonly on: Provisioned
  readonly database: DatabaseRuntime
}

/** Tables with a column of each type that clients decode in a way of their own. */
export async function world (t: Test, options: object = {}): Promise<World> {
  const provisioned = await provision(t)
  await provisioned.admin(`${tables('tenant_id text not null,', 'tenant_id,')}`)
  const on = { ...provisioned, tables: { tenant: ['projects', 'tasks'], shared: ['countries'] } }
  const client = new pg.Client({ connectionString: on.superUrl })
  await client.connect()
  await protect(client, {
    tables: {
      tenant: { projects: 'tenant_id', tasks: 'tenant_id' },
      shared: ['countries'],
      global: [],
      schema: 'public'
    },
    signed: true
  })
  await client.end()
  return { on, database: await open(t, on, options) }
}

/**
 * The tables of {@link world} without a tenant column: what a database of one tenant alone would
 * have.
 */
export async function plainDatabase (t: Test): Promise<pg.Pool> {
  const pool = new pg.Pool({ connectionString: await freshDatabase(t), max: 2 })
  t.teardown(() => pool.end())
  await pool.query(tables('', ''))
  await pool.query(
    "create table countries (code text primary key); insert into countries values ('NL'), ('DE')"
  )
  return pool
}

function tables (column: string, key: string): string {
  return `
    create table projects (${column} id int not null, name text not null, tags text[], facts jsonb, price
      numeric(10, 2),
      big int8, made timestamptz, day date, raw bytea, done bool not null default false, ratio float8,
      primary key (${key} id));
    create table tasks (${column} id int not null, project_id int not null, title text not null,
      primary key (${key} id), constraint of_project foreign key (${key} project_id) references projects
        (${key} id) on delete cascade)`
}

/** A tenant's scope and its pool of `pg`. */
export function poolOf (
  t: Test,
  { database }: World,
  id: string,
  isolation: Isolation = 'rls'
): { readonly scope: TenantScope; readonly pool: pg.Pool } {
  const scope = new TenantScope(toTenant({ id, slug: id, isolation }), silent)
  t.teardown(() => scope.abort())
  return { scope, pool: database.pg.forScope(scope) }
}
