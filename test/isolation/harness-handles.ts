// The harness' handles over `request.db`.
import { toTenant } from '@fastify-tenancy/core'
import { TenantScope } from '@fastify-tenancy/core/scope'
import type { DatabaseRuntime } from '@fastify-tenancy/database'
import { sql, type Kysely } from 'kysely'

import { tags, tenants, type IsolationHandle } from './harness.ts'

export { runIsolationHarness } from './harness.ts'

interface Projects {
  projects: { name: string }
}

const silent = { info () {}, warn () {}, error () {} }

const names = async (rows: Promise<{ name: string }[]>): Promise<string[]> =>
  (await rows).map(({ name }) => name)

/** A handle of a new scope, as each request has one. */
export function makeHandle (database: DatabaseRuntime): (tenant: string) => IsolationHandle {
  return tenant => {
    const db = database.forScope(
      new TenantScope(toTenant({ id: tenant, slug: `slug-${tenant}` }), silent)
    ) as unknown as Kysely<Projects>
    return {
      list: () => names(db.selectFrom('projects').select('name').execute()),
      rename: (from, to) =>
        names(
          db.updateTable('projects').set({ name: to }).where('name', '=', from).returning('name').execute()
        ),
      remove: name => names(db.deleteFrom('projects').where('name', '=', name).returning('name').execute()),
      fail: () => sql`select 1 / 0`.execute(db)
    }
  }
}

export async function fill (database: DatabaseRuntime): Promise<void> {
  for (const tenant of tenants) {
    const scope = new TenantScope(toTenant({ id: tenant, slug: `slug-${tenant}` }), silent)
    await (database.forScope(scope) as unknown as Kysely<Projects>).insertInto('projects').values(
      tags(tenant).map(name => ({ name }))
    ).execute()
  }
}
