// A tenant's own database is dropped while a statement runs, and the server's notice is lost.
import { postgresRegistry } from '@fastify-tenancy/database'
import { createTenancy } from 'fastify-tenancy'
import type { Kysely } from 'kysely'
import pg from 'pg'
import t from 'tap'

import { tcpProxy } from '../support/tcp-proxy.ts'
import { until } from '../support/until.ts'
import { idFor, lifecycleFixture, tables } from './lifecycle-fixture.ts'

t.test('FNC-01 database: a lost connection makes the process look its tenant up again', async t => {
  const world = await lifecycleFixture(t, 'database')
  const { manager, options: { database, isolation } } = world
  const { registryUrl, url, tenants } = database as {
    registryUrl: string
    url: string
    tenants: { url: string }
  }
  const id = idFor(world, 'a')
  await manager.create({ id, slug: 'acme' })
  const proxy = await tcpProxy(t, world.superUrl)
  const pool = new pg.Pool({ connectionString: registryUrl })
  t.teardown(() => pool.end())
  const port = new URL(world.superUrl).port
  const tenancy = await createTenancy({
    database: { url, tenants: { url: tenants.url.replace(`:${port}/`, `:${proxy.port}/`) } },
    isolation,
    tables,
    baseDomain: 'example.com',
    registry: postgresRegistry(pool),
    resolver: { cache: { ttl: '1h', localTtl: '1h' } }
  } as never)
  t.teardown(() => tenancy.close())
  let row = 0
  const write = (): Promise<string> =>
    tenancy.run({ slug: 'acme' }, async ({ db }) => {
      await (db as unknown as Kysely<{ projects: { id: number } }>).insertInto('projects').values({
        id: row++
      })
        .execute()
    }).then(() => 'written', (error: { code?: string }) => String(error.code))
  const reads = (): number => tenancy.health().resolver.registryReads
  t.equal(await write(), 'written')
  const before = reads()
  t.equal(await write(), 'written')
  t.equal(reads(), before, 'control: the process does not ask the registry again')

  proxy.loseAnswers()
  const first = write()
  await manager.delete({ id }, { grace: '0s' })
  await manager.purge({ id })
  t.equal(await first, 'FST_TENANCY_DATABASE_UNAVAILABLE', 'a loss without a notice of the server')
  proxy.restore()
  t.equal(await write(), 'FST_TENANCY_TENANT_UNKNOWN')
  t.ok(reads() > before)
  await until(() => proxy.connections === 0)
})
