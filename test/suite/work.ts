// Work outside of requests, with the tests' tables.
import { toTenant, memoryRegistry, type TenantRegistry, type TenantWork } from '@fastify-tenancy/core'
import type { SqlClient } from '@fastify-tenancy/postgres/client'
import { rolesOf } from '@fastify-tenancy/postgres/roles'
import type { Generated, Kysely } from 'kysely'

import { protectGlobal } from '../../packages/postgres/src/policies/protect.ts'
import type { Provisioned, Rows } from '../support/tenants.ts'

/** The tables of {@link withUsers}. */
export interface AllRows extends Rows {
  users: { id: Generated<number>; email: string }
}

/** `db` of a run, with the tests' tables. */
export function dbIn (work: Pick<TenantWork, 'db'>): Kysely<Rows> {
  return work.db as unknown as Kysely<Rows>
}

export interface Registered {
  readonly registry: TenantRegistry
  /** Writes a tenant's status to the registry without announcing the change. */
  setStatus(
    id: string,
    status: 'active' | 'suspended' | 'deleting' | 'deleted' | 'provisioning'
  ): Promise<void>
}

/** acme, globex and initech are active; hooli is suspended, gone is deleted. */
export function registered (): Registered {
  const registry = memoryRegistry([
    ...['acme', 'globex', 'initech'].map(slug =>
      toTenant({ id: `id-${slug}`, slug, plan: slug === 'globex' ? 'pro' : 'free' })
    ),
    toTenant({ id: 'id-hooli', slug: 'hooli', status: 'suspended' }),
    toTenant({ id: 'id-gone', slug: 'gone', status: 'deleted' })
  ])
  return {
    registry,
    async setStatus (id, status) {
      const tenant = await registry.findById(id)
      await registry.update(id, tenant?.version ?? 0, { status })
    }
  }
}

/** Returns the rows of the table, read as the superuser. */
export async function bodies (on: Provisioned): Promise<string[]> {
  return (await on.admin<{ body: string }>('select body from notes order by tenant_id, id')).map(({ body }) =>
    body
  )
}

/** Adds a global table with two users, which no tenant can read, and lists it in the options. */
export async function withUsers (
  on: Provisioned
): Promise<Provisioned & { readonly tables: { global: string[] } }> {
  await on.admin(
    'create table users (id serial primary key, email text not null unique); insert into users (email) ' +
      "values ('ann@acme'), ('bob@globex')"
  )
  const client: SqlClient = {
    query: async <R>(text: string, values?: unknown[]) => ({
      rows: await on.admin(text, values) as R[],
      rowCount: null
    })
  }
  const roles = rolesOf(new URL(on.superUrl).pathname.slice(1))
  await protectGlobal(client, { schema: 'public', table: 'users', roles })
  return { ...on, tables: { ...on.tables, global: ['users'] } }
}
