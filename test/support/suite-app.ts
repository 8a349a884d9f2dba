// A separate process with the whole suite, controlled by its parent: `node suite-app.ts '{ … }'`,
// see suite-processes.ts.
import Fastify, { type FastifyInstance } from 'fastify'
import tenancy, { type TenancyOptions } from 'fastify-tenancy'
import { setTimeout as sleep } from 'node:timers/promises'
import type { AddressInfo } from 'node:net'
import pg from 'pg'

import { CountingPostgresRegistry, gate } from './counting-registry.ts'

export interface SuiteAppOptions extends Omit<TenancyOptions, 'database' | 'registry' | 'baseDomain'> {
  readonly url: string
  readonly registryUrl: string
  readonly superUrl: string
  readonly secret: string | undefined
  /** Whether to use a registry that counts its reads in the database. */
  readonly isCounted?: boolean
}

const { url, registryUrl, superUrl, secret, isCounted = false, ...options } = JSON.parse(
  process.argv[2] ?? ''
) as SuiteAppOptions
const pool = new pg.Pool({ connectionString: superUrl, max: 4 })
let log = ''
const app = await start()

async function start (): Promise<FastifyInstance> {
  const app = Fastify({
    forceCloseConnections: true,
    logger: {
      level: 'warn',
      stream: {
        write: (line: string) => {
          log += line
        }
      }
    }
  })
  await app.register(tenancy, {
    ...options,
    baseDomain: 'example.com',
    database: { url, registryUrl },
    tables: { tenant: ['notes'], shared: ['countries'] },
    ...(isCounted && { registry: new CountingPostgresRegistry(pool), namespace: 'test' }),
    ...(secret !== undefined && { rls: { secret } })
  })
  app.get('/', async request => ({ slug: request.tenant.slug, plan: request.tenant.plan }))
  // A cached value whose loads are counted in the database, by tenant and key.
  app.get<{ Params: { key: string }; Querystring: { lock?: string } }>(
    '/value/:key',
    async ({ tenant, params, query, cache }) => ({
      value: await cache.wrap(params.key, async () => {
        await pool.query('insert into loads values ($1, $2)', [tenant.id, params.key])
        await pool.query('select pg_advisory_xact_lock_shared($1)', [gate])
        return `${tenant.id}:${params.key}`
      }, { lock: query.lock === 'true' })
    })
  )
  app.get(
    '/health',
    { config: { tenancy: 'off' } },
    async () => ({ ...app.tenancy.health(), cache: app.tenantCache.health() })
  )
  await app.listen({ port: 0, host: '127.0.0.1' })
  return app
}

const orders = {
  /** Counts the distinct answers to concurrent requests: `{ '200 {"slug":"acme"…}': 250 }`. */
  async ask (host: string, path: string, count: number): Promise<Record<string, number>> {
    const answers = await Promise.all(
      Array.from({ length: count }, () => app.inject({ url: path, headers: { host } }))
    )
    const counts: Record<string, number> = {}
    for (const { statusCode, body } of answers)
      counts[`${statusCode} ${body}`] = (counts[`${statusCode} ${body}`] ?? 0) + 1
    return counts
  },
  /** Counts the distinct tenants that concurrent look-ups find: `{ 'id-acme': 250 }`. */
  async find (slug: string, count: number): Promise<Record<string, number>> {
    const found = await Promise.all(Array.from({ length: count }, () => app.tenantResolver.find({ slug })))
    const counts: Record<string, number> = {}
    for (const tenant of found) counts[String(tenant?.id)] = (counts[String(tenant?.id)] ?? 0) + 1
    return counts
  },
  /** Repeats the request until the body contains the text. Returns the Unix time in ms. */
  async waitFor (host: string, part: string): Promise<number> {
    for (;;) {
      const { body } = await app.inject({ url: '/', headers: { host } })
      if (body.includes(part)) return Date.now()
      await sleep(1)
    }
  },
  invalidate: (id: string) => app.tenancy.invalidate({ id })
}

export type Orders = typeof orders

process.on('message', (order: { id: number; name: keyof Orders; args: never[] }) => {
  const work = orders[order.name] as (...args: never[]) => Promise<unknown>
  work(...order.args).then(
    result => process.send?.({ id: order.id, result: result ?? null }),
    (error: unknown) => process.send?.({ id: order.id, error: String(error) })
  )
})
process.on('disconnect', () => process.exit())
process.send?.({ port: (app.server.address() as AddressInfo).port, log })
