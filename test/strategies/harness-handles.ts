// request.db under the isolation harness, with any strategy for each tenant.
import type { TenantRecord } from '@fastify-tenancy/core'
import { TenantScope } from '@fastify-tenancy/core/scope'
import type { DatabaseRuntime } from '@fastify-tenancy/database'
import type { Kysely } from 'kysely'

import { tags, type IsolationHandle } from '../isolation/harness.ts'
import { silent, type Rows } from './strategy-fixture.ts'

async function read (rows: Promise<{ name: string }[]>): Promise<string[]> {
  return (await rows).map(({ name }) => name)
}

/** Returns handles of new scopes, as each request has one. */
export function harnessHandles (
  database: DatabaseRuntime,
  tenants: ReadonlyMap<string, TenantRecord>
): (name: string) => IsolationHandle {
  return name => {
    const db = database.forScope(new TenantScope(tenantOf(tenants, name), silent)) as unknown as Kysely<Rows>
    return {
      list: () => read(db.selectFrom('projects').select('name').execute()),
      rename: (from, to) =>
        read(
          db.updateTable('projects').set({ name: to }).where('name', '=', from).returning('name').execute()
        ),
      remove: name => read(db.deleteFrom('projects').where('name', '=', name).returning('name').execute()),
      fail: () =>
        db.selectFrom('projects').select(eb => eb.val('x').$castTo<number>().as('x')).where(eb =>
          eb(eb.cast<number>(eb.val('no number'), 'integer'), '=', 1)
        ).execute()
    }
  }
}

/** Inserts the rows that the harness expects for each tenant. */
export async function fill (
  database: DatabaseRuntime,
  tenants: ReadonlyMap<string, TenantRecord>
): Promise<void> {
  for (const [name, tenant] of tenants) {
    const db = database.forScope(new TenantScope(tenant, silent)) as unknown as Kysely<Rows>
    await db.insertInto('projects').values(tags(name).map(name => ({ name }))).execute()
  }
}

export function tenantOf (tenants: ReadonlyMap<string, TenantRecord>, name: string): TenantRecord {
  const tenant = tenants.get(name)
  if (tenant === undefined) throw new TypeError(`there is no tenant ${name}`)
  return tenant
}
