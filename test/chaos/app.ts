// One process of the application: the suite on the servers that its argument names.
import Fastify from 'fastify'
import tenancy from 'fastify-tenancy'
import { Cluster } from 'ioredis'
import type { Kysely } from 'kysely'

import { answerParent } from './child.ts'
import { secretOf } from './secrets.ts'
import type { ChaosTables } from './tables.ts'

/** What a process is told at its start. */
export interface AppSettings {
  readonly url: string
  readonly registryUrl: string
  /** A URL, or the ports of a Cluster. */
  readonly redis: string | readonly number[]
  readonly secrets: readonly string[]
  readonly limits: string
}

/** Redis may be slow on a busy machine. */
const commandTimeout = 250
/** How long a request may take before it is cut at the close. */
const closeTimeout = '2s'

const settings = JSON.parse(process.argv[2] ?? '') as AppSettings
const redis = typeof settings.redis === 'string'
  ? { url: settings.redis, commandTimeout }
  : new Cluster(settings.redis.map(port => ({ host: '127.0.0.1', port })), {
    redisOptions: { commandTimeout, connectTimeout: 500, autoResendUnfulfilledCommands: false },
    enableOfflineQueue: false
  }).on('error', () => {})

// A busy machine may take longer than Fastify's 10 s to start a process.
const app = Fastify({ pluginTimeout: 60_000 })
await app.register(tenancy, {
  baseDomain: 'example.com',
  database: {
    url: settings.url,
    registryUrl: settings.registryUrl,
    pool: { max: 4 },
    statementTimeout: '5s',
    lockTimeout: '3s',
    idleInTransaction: '2s',
    fairness: { maxWait: '4s' }
  },
  redis,
  rls: { secret: secretOf(settings.secrets) },
  tables: { tenant: ['entries', 'legs', 'marks'] },
  resolver: { cache: { localTtl: '1s' } },
  rateLimit: settings.limits,
  closeTimeout
})

const dbOf = (request: { db: unknown }): Kysely<ChaosTables> => request.db as Kysely<ChaosTables>

app.get('/me', async ({ tenant }) => ({ tenant: tenant.id, slug: tenant.slug }))
app.get('/entries', async request => {
  const db = dbOf(request)
  const entries = await db.selectFrom('entries').select('value').orderBy('id', 'desc').limit(5).execute()
  // One statement sees one moment.
  const legs = await db.selectFrom('legs').select(['key', 'value']).where(
    'key',
    'in',
    inner => inner.selectFrom('legs').select('key').orderBy('id', 'desc').limit(3)
  ).execute()
  const counts: Record<string, number> = {}
  for (const { key } of legs) counts[key] = (counts[key] ?? 0) + 1
  return { entries, values: legs.map(({ value }) => value), legs: counts }
})
app.post<{ Body: { key: string; value: string } }>('/entries', async (request, reply) => {
  await dbOf(request).insertInto('entries').values(request.body).execute()
  return reply.code(201).send({ value: request.body.value })
})
app.post<{ Body: { key: string; value: string; fails: boolean } }>(
  '/transfers',
  { config: { tenancy: { transaction: true } } },
  async (request, reply) => {
    const { key, value, fails } = request.body
    const db = dbOf(request)
    await db.insertInto('legs').values({ key, side: 'from', value }).execute()
    await db.insertInto('marks').values({ id: 1, value })
      .onConflict(conflict => conflict.constraint('marks_pkey').doUpdateSet({ value })).execute()
    await request.cache.delete('mark')
    await request.cache.wrap('mark', () => db.selectFrom('marks').select('value').executeTakeFirst())
    await request.cache.set(`staged ${key}`, value)
    await db.insertInto('legs').values({ key, side: 'to', value }).execute()
    return fails ? reply.code(409).send({ code: 'EXPECTED' }) : reply.code(201).send({ value })
  }
)
app.get('/mark', async request => {
  const mark = await request.cache.wrap(
    'mark',
    () => dbOf(request).selectFrom('marks').select('value').executeTakeFirst()
  )
  return { value: mark?.value ?? null }
})
app.get<{ Params: { key: string } }>('/staged/:key', async ({ params, cache }) => ({
  value: await cache.get(`staged ${params.key}`) ?? null
}))
// All tenants use the same keys.
app.get<{ Params: { key: string } }>('/value/:key', async request => ({
  value: await request.cache.wrap(
    request.params.key,
    async () => `${request.tenant.id.slice(3)}:${request.params.key}`
  )
}))

await answerParent(app)
