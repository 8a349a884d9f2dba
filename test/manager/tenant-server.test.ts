// Which server holds a tenant's own database, and how the owner's login connects to it.
import { toTenant } from '@fastify-tenancy/core'
import t from 'tap'

import { resolveManagerOptions } from '../../packages/manager/src/context/options.ts'
import { ShardPools } from '../../packages/manager/src/context/shard-pools.ts'
import { tenantServer } from '../../packages/manager/src/placement/tenant-server.ts'

t.test("the owner goes to the tenant's server, and to no other port of it", async t => {
  const tenant = toTenant({
    id: 'a',
    slug: 'acme',
    isolation: 'database',
    placement: { shard: 'default', database: 'tenant_a' }
  })
  for (
    const [url, ownerUrl, serverUrl] of [
      ['postgres://a:x@far/{database}', 'postgres://owner:y@far/tenant_a', 'postgres://owner:y@far/postgres'],
      ['postgres://a:x@far:6000/{database}', 'postgres://owner:y@far:6000/tenant_a',
        'postgres://owner:y@far:6000/postgres'],
      ['postgres://a:x@near:5433/{database}', 'postgres://owner:y@near:5433/tenant_a',
        'postgres://owner:y@near:5433/app']
    ] as const
  ) {
    const options = resolveManagerOptions({
      isolation: 'database',
      tables: { tenant: ['notes'] },
      database: {
        url: 'postgres://app@near:5433/app',
        ownerUrl: 'postgres://owner:y@near:5433/app',
        tenants: { url }
      }
    })
    const shards = new ShardPools(options.database)
    t.teardown(() => shards.close())
    t.match(await tenantServer(tenant, { options, shards }), { ownerUrl, serverUrl }, url)
  }
})
