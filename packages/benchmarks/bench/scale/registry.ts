// The registry with 1,000 to 1,000,000 tenants: look-ups, a list, changes, and a process that
// keeps every name.
import { createManager } from '@fastify-tenancy/manager'
import { openListener, postgresRegistry } from '@fastify-tenancy/postgres/registry'
import { openResolver, resolveResolverOptions } from '@fastify-tenancy/resolver'
import pg from 'pg'

import { count, fillRegistry, heap, repeated, scaleServer, timed, type PartTable } from './part.ts'

const unknownName = { kind: 'slug', value: 'no-such-tenant' } as const

export async function registry (isShort: boolean): Promise<PartTable> {
  const server = await scaleServer()
  const options = { database: { url: server.appUrl, ownerUrl: server.url } }
  const manager = createManager(options)
  await manager.init()
  const app = new pg.Pool({ connectionString: server.appUrl, max: 1 })
  const owner = new pg.Pool({ connectionString: server.url, max: 1 })
  const rows: string[][] = []
  let filled = 0
  for (const tenants of isShort ? [100, 1_000] : [1_000, 10_000, 100_000, 1_000_000]) {
    await fillRegistry(server.admin, filled + 1, tenants)
    filled = tenants
    const lookups = postgresRegistry(app)
    const found = await repeated(500, async () => {
      const slug = `s-${1 + Math.floor(Math.random() * tenants)}`
      if (await lookups.findBySlug(slug) === undefined) throw new Error(`${slug} was not found`)
    })
    const created = await repeated(20, turn => manager.create({ slug: `new-${tenants}-${turn}` }))
    const updated = await repeated(
      20,
      turn => manager.update({ slug: `new-${tenants}-${turn}` }, { plan: 'pro' })
    )
    const { read, megabytes } = await readIndex(owner)
    const { rows: [size] } = await server.admin.query<{ mb: string }>(
      'select round(sum(pg_total_relation_size(oid)) / 2 ^ 20)::text as mb from pg_class ' +
        "where oid in ('tenancy.tenants'::regclass, 'tenancy.names'::regclass)"
    )
    rows.push([
      count(tenants),
      found.p50.toFixed(2),
      created.p50.toFixed(0),
      updated.p50.toFixed(0),
      (read / 1_000).toFixed(2),
      megabytes.toFixed(1),
      size?.mb ?? ''
    ])
  }
  await Promise.all([app.end(), owner.end(), manager.close()])
  await server.stop()
  return {
    title: 'medians in ms, one call at a time. `index: true` reads all names at boot.',
    head: ['tenants', 'look-up by slug, ms', '`create`, ms', '`update`, ms', 'index read, s', 'its heap, MB',
      'tables and indexes, MB'],
    rows
  }
}

/** Returns how long a process takes to read every name, and the heap that the names take. */
async function readIndex (pool: pg.Pool): Promise<{ read: number; megabytes: number }> {
  const before = heap()
  const opened = openResolver(
    resolveResolverOptions({
      registry: postgresRegistry(pool, { listen: () => openListener(pool) }),
      baseDomain: 'example.com',
      cache: { index: true }
    })
  )
  const read = await timed(async () => {
    await opened.resolver.start()
    while (opened.resolver.lookup.peek(unknownName) !== null)
      await new Promise(resolve => setTimeout(resolve, 5))
  })
  const megabytes = heap() - before
  await opened.close()
  return { read, megabytes }
}
