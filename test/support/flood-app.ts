// A separate process with the whole suite, to be flooded with invented names. `/state` reports the
// cost. See flood.ts.
import { postgresRegistry } from '@fastify-tenancy/database'
import type { TenantRecord, TenantRegistry } from '@fastify-tenancy/core'
import Fastify from 'fastify'
import tenancy from 'fastify-tenancy'
import { sql, type Kysely } from 'kysely'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'

export interface FloodAppOptions {
  readonly url: string
  readonly registryUrl: string
  readonly secret: string | undefined
  readonly redis: string
  readonly table: string
  /** Milliseconds of a look-up in the registry, in addition to its own time. */
  readonly latency: number
}

export interface FloodState {
  /** Look-ups of unknown names, and the most of them at once. */
  readonly misses: number
  readonly most: number
  readonly unknown: number
  /** Megabytes in use after garbage collection. */
  readonly heap: number
}

const { url, registryUrl, secret, redis, table, latency } = JSON.parse(
  process.argv[2] ?? ''
) as FloodAppOptions
const registry = postgresRegistry(new pg.Pool({ connectionString: registryUrl, max: 30 }))
const watched = { misses: 0, running: 0, most: 0 }
const kept = new Map<string, number>()

/** The suite's own registry with added latency, which counts look-ups of unknown names. */
const counting: TenantRegistry = {
  findBySlug: slug => slug.startsWith('made-up-') ? miss(slug) : registry.findBySlug(slug),
  findByDomain: domain => registry.findByDomain(domain),
  findById: id => registry.findById(id),
  list: filter => registry.list(filter),
  insert: input => registry.insert(input),
  update: (id, version, changes) => registry.update(id, version, changes)
}

async function miss (slug: string): Promise<TenantRecord | undefined> {
  watched.misses++
  watched.most = Math.max(watched.most, ++watched.running)
  try {
    await sleep(latency)
    return await registry.findBySlug(slug)
  } finally {
    watched.running--
  }
}

function heap (): number {
  for (let round = 0; round < 3; round++) (globalThis as { gc?: () => void }).gc?.()
  return process.memoryUsage().heapUsed / 2 ** 20
}

const app = Fastify({ forceCloseConnections: true })
await app.register(tenancy, {
  baseDomain: 'example.com',
  database: { url, registryUrl },
  registry: counting,
  redis,
  namespace: 'test',
  tables: { tenant: [table] },
  rateLimit: { limits: { default: { rpm: 10_000_000 } } },
  ...(secret !== undefined && { rls: { secret } })
})
app.get('/', async request => {
  const { rows } = await sql<{ body: string }>`select body from ${sql.table(table)}`.execute(
    request.db as unknown as Kysely<unknown>
  )
  return { slug: request.tenant.slug, notes: rows.map(({ body }) => body) }
})
app.get(
  '/state',
  { config: { tenancy: 'off' } },
  async (): Promise<FloodState> => ({
    misses: watched.misses,
    most: watched.most,
    unknown: app.tenantResolver.health().unknown,
    heap: heap()
  })
)
// Measures the memory of a process that remembered each unknown name.
app.post<{ Body: string[] }>(
  '/keep',
  { config: { tenancy: 'off' }, bodyLimit: 100 * 2 ** 20 },
  async ({ body }) => {
    for (const name of body) kept.set(`${name}.example.com`, performance.now())
    return kept.size
  }
)
await app.listen({ port: 0, host: '0.0.0.0' })
process.on('disconnect', () => process.exit())
process.send?.((app.server.address() as AddressInfo).port)
