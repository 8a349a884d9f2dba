// Handles whose statements a test declares harmless, on one pool.
import { toTenant } from '@fastify-tenancy/core'
import { TenantScope } from '@fastify-tenancy/core/scope'
import type { DatabaseConnectionOptions } from '@fastify-tenancy/database'
import { resolveDatabaseOptions } from '@fastify-tenancy/database/options'
import type { CompiledQuery, Kysely } from 'kysely'
import type { Test } from 'tap'

import { TenantDialect } from '../../packages/database/src/kysely/dialect.ts'
import { TenantDriver } from '../../packages/database/src/kysely/driver.ts'
import { TenantHandle } from '../../packages/database/src/kysely/handle.ts'
import { TenantRouter } from '../../packages/database/src/routing/tenant-router.ts'
import type { Provisioned, Rows } from '../support/tenants.ts'

const silent = { info () {}, warn () {}, error () {} }

/** Opens a pool, and returns a function that makes the handle of a tenant. */
export async function harmlessHandles (
  t: Test,
  on: Provisioned,
  options: Partial<DatabaseConnectionOptions>,
  isHarmless: (query: CompiledQuery) => boolean
): Promise<(id: string) => Kysely<Rows>> {
  const homes = new TenantRouter(
    resolveDatabaseOptions({
      database: { url: on.url, ...options },
      tables: on.tables,
      ...(on.secret !== undefined && { rls: { secret: on.secret } })
    }),
    { check () {}, onShard () {} }
  )
  t.teardown(() => homes.close())
  await homes.boot()
  return id => {
    const tenant = toTenant({ id, slug: `slug-of-${id}` })
    const scope = new TenantScope(tenant, silent)
    t.teardown(() => scope.abort())
    const { acquire, compiler } = homes.route(tenant)
    return new TenantHandle<Rows>({
      dialect: new TenantDialect(new TenantDriver({ scope, acquire, isHarmless }), compiler)
    })
  }
}
