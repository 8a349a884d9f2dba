// The same route in each contender's own way: tenant, exact limit in Redis, twenty rows, one cached
// value.
import rateLimit from '@fastify/rate-limit'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import tenancy from 'fastify-tenancy'
import { Redis } from 'ioredis'
import { Kysely, PostgresDialect } from 'kysely'
import pg from 'pg'

import { secret, tables } from './ground.ts'

interface SuitePlace {
  readonly url: string
  readonly registryUrl: string
}

/** The addresses of a contender's servers. */
export interface Places {
  readonly plain: SuitePlace
  readonly signed: SuitePlace
  readonly hand: string
  readonly redis: string
}

interface Row {
  tenant_id: string
  id: number
  title: string
  n: number
}

/** The code that a contender without the suite has to write itself. */
interface ByHand {
  tenant(slug: string): Promise<string | undefined>
  items(tenant: string, from: number): Promise<unknown[]>
}

type Prepare = (app: FastifyInstance, places: Places) => Promise<void>

/** A limit that is never reached. */
const plenty = 1_000_000_000
const someId = (): number => Math.floor(Math.random() * 20)
const count = { items: 40, at: '2026-01-01' }

/** The servers by name. The first is the baseline. */
export const contenders: Readonly<Record<string, Prepare>> = {
  'pg by hand': (app, places) =>
    byHand(app, places, pool => ({
      tenant: tenantMap(pool),
      items: async (tenant, from) =>
        (await pool.query({
          text: 'select id, title, n from bare_items where tenant_id = $1 and id > $2 order by id limit 20',
          values: [tenant, from]
        })).rows
    })),
  'Kysely by hand': (app, places) =>
    byHand(app, places, pool => {
      const db = new Kysely<{ bare_items: Row }>({ dialect: new PostgresDialect({ pool }) })
      return {
        tenant: tenantMap(pool),
        items: (tenant, from) =>
          db.selectFrom('bare_items').select(['id', 'title', 'n']).where('tenant_id', '=', tenant)
            .where('id', '>', from).orderBy('id').limit(20).execute()
      }
    }),
  'the way of the field': (app, places) =>
    byHand(app, places, (pool, redis) => ({
      tenant: async slug => {
        const known = await redis.get(`tenant:${slug}`)
        if (known !== null) return (JSON.parse(known) as { id: string }).id
        const id = await readTenant(pool, slug)
        if (id !== undefined) await redis.set(`tenant:${slug}`, JSON.stringify({ id }), 'EX', 300)
        return id
      },
      async items (tenant, from) {
        const client = await pool.connect()
        try {
          await client.query('begin')
          await client.query("select set_config('app.tenant', $1, true)", [tenant])
          const { rows } = await client.query(
            'select id, title, n from field_items where id > $1 order by id limit 20',
            [from]
          )
          await client.query('commit')
          return rows
        } catch (error) {
          await client.query('rollback')
          throw error
        } finally {
          client.release()
        }
      }
    })),
  'suite, plain': (app, places) => suite(app, places, {}),
  'suite, plain, shared plans': (app, places) => suite(app, places, { plans: 'shared' }),
  'suite, signed': (app, places) => suite(app, places, { isSigned: true }),
  'suite, signed, shared plans': (app, places) => suite(app, places, { isSigned: true, plans: 'shared' }),
  'suite, signed, leased limits': (app, places) =>
    suite(app, places, { isSigned: true, precision: 'leased' }),
  'suite, row': (app, places) => suite(app, places, { isolation: 'row' })
}

interface How {
  readonly isSigned?: boolean
  readonly plans?: 'custom' | 'shared'
  readonly precision?: 'exact' | 'leased'
  readonly isolation?: 'rls' | 'row'
}

async function suite (
  app: FastifyInstance,
  places: Places,
  { isSigned = false, plans = 'custom', precision = 'exact', isolation = 'rls' }: How
): Promise<void> {
  await app.register(tenancy, {
    baseDomain: 'example.com',
    database: { ...isSigned ? places.signed : places.plain, plans, pool: { max: 10 } },
    redis: places.redis,
    tables,
    isolation,
    ...(isSigned && { rls: { secret } }),
    rateLimit: { limits: { default: { rpm: plenty } }, precision }
  })
  app.get('/', async request => {
    const db = request.db as unknown as Kysely<{ items: Row }>
    const items = await db.selectFrom('items').select(['id', 'title', 'n']).where('id', '>', someId())
      .orderBy('id').limit(20).execute()
    return { items, stats: await request.cache.wrap('stats', async () => count) }
  })
}

async function byHand (
  app: FastifyInstance,
  { hand, redis: url }: Places,
  write: (pool: pg.Pool, redis: Redis) => ByHand
): Promise<void> {
  const pool = new pg.Pool({ connectionString: hand, max: 10 })
  pool.on('error', () => {})
  const redis = new Redis(url, { enableAutoPipelining: true })
  const { tenant, items } = write(pool, redis)
  app.decorateRequest('tenantId', '')
  app.addHook('onRequest', async (request: FastifyRequest & { tenantId?: string }, reply) => {
    const id = await tenant(request.hostname.split('.', 1)[0] ?? '')
    if (id === undefined) return reply.code(404).send()
    request.tenantId = id
  })
  await app.register(rateLimit, { max: plenty, timeWindow: 60_000, keyGenerator: idOf, redis })
  app.get('/', async request => {
    const id = idOf(request)
    const rows = await items(id, someId())
    const known = await redis.get(`${id}:stats`)
    if (known === null) await redis.set(`${id}:stats`, JSON.stringify(count), 'EX', 300)
    return { items: rows, stats: known === null ? count : JSON.parse(known) as unknown }
  })
}

function idOf (request: FastifyRequest): string {
  return (request as FastifyRequest & { tenantId: string }).tenantId
}

/** Tenants by slug, kept for five seconds. */
function tenantMap (pool: pg.Pool): ByHand['tenant'] {
  const known = new Map<string, { readonly id: string | undefined; readonly until: number }>()
  return async slug => {
    const entry = known.get(slug)
    if (entry !== undefined && entry.until > Date.now()) return entry.id
    const id = await readTenant(pool, slug)
    known.set(slug, { id, until: Date.now() + 5_000 })
    return id
  }
}

async function readTenant (pool: pg.Pool, slug: string): Promise<string | undefined> {
  const { rows } = await pool.query<{ id: string }>('select id from bare_tenants where slug = $1', [slug])
  return rows[0]?.id
}
