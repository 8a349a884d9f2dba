// The control: the same routes without the suite, with one mistake for each rule of the checker.
import Fastify from 'fastify'
import { Redis } from 'ioredis'
import { setTimeout as pause } from 'node:timers/promises'
import pg from 'pg'

import type { AppSettings } from './app.ts'
import { answerParent } from './child.ts'

interface Body {
  readonly key: string
  readonly value: string
  readonly fails?: boolean
}

const settings = JSON.parse(process.argv[2] ?? '') as AppSettings
// It does not rely on policies, so it takes the login of the tests' servers.
const connectionString =
  Object.assign(new URL(settings.url), { username: 'postgres', password: 'postgres' }).href
const pool = new pg.Pool({ connectionString, max: 4 })
pool.on('error', () => {})
const redis = new Redis(String(settings.redis))
redis.on('error', () => {})

const ids = new Map<string, string>()
const counts = new Map<string, number>()
const kept: number[][] = []
const limit = 60
/** How long a write waits for others, to save round trips. */
const gatheringMs = 200
const keptNumbers = 25_000

// Mistake: this connection is never made again.
const single = new pg.Client({ connectionString })
single.on('error', () => {})
await single.connect()

const app = Fastify()
app.addHook('onRequest', async ({ hostname }, reply) => {
  // Mistake: what a request needs is kept.
  kept.push(Array.from({ length: keptNumbers }, (_, at) => at / 3))
  const slug = hostname.split('.')[0] ?? ''
  // Mistake: what is known of a tenant is never looked up again.
  if (!ids.has(slug)) {
    const { rows: [row] } = await pool.query<{ id: string }>(
      'select id from tenancy.tenants where slug = $1',
      [slug]
    )
    if (row === undefined) return reply.code(404).send({ code: 'FST_TENANCY_TENANT_UNKNOWN' })
    ids.set(slug, row.id)
  }
  const id = ids.get(slug) ?? ''
  // Mistake: each process counts alone.
  counts.set(id, (counts.get(id) ?? 0) + 1)
  if (id === 'id-stark' && (counts.get(id) ?? 0) > limit)
    return reply.code(429).header('retry-after', '60').send({ code: 'FST_TENANCY_RATE_LIMITED' })
  // Mistake: the tenant is a setting of one connection of the pool.
  await pool.query("select set_config('naive.tenant', $1, false)", [id])
  return undefined
})

const tenant = "current_setting('naive.tenant', true)"

app.get('/me', async ({ hostname }) => ({ tenant: ids.get(hostname.split('.')[0] ?? '') }))
app.get('/entries', async () => {
  const { rows: entries } = await pool.query(
    `select value from entries where tenant_id = ${tenant} order by id desc limit 5`
  )
  const { rows: legs } = await pool.query<{ key: string; value: string }>(
    `select key, value from legs where tenant_id = ${tenant} and key in
      (select key from legs where tenant_id = ${tenant} order by id desc limit 3)`
  )
  const found: Record<string, number> = {}
  for (const { key } of legs) found[key] = (found[key] ?? 0) + 1
  return { entries, values: legs.map(({ value }) => value), legs: found }
})
app.post<{ Body: Body }>('/entries', async ({ body: { key, value } }, reply) => {
  // Mistake: the answer does not wait for the write.
  void pause(gatheringMs).then(() =>
    pool.query(`insert into entries (tenant_id, key, value) values (${tenant}, $1, $2)`, [key, value])
  ).catch(() => {})
  return reply.code(201).send({ value })
})
app.post<{ Body: Body }>('/transfers', async ({ body: { key, value, fails } }, reply) => {
  // Mistake: the cache has the value before the transaction has ended.
  await redis.set(`staged ${key}`, value)
  if (fails) return reply.code(409).send({ code: 'EXPECTED' })
  // Mistake: two statements, and no transaction.
  for (const side of ['from', 'to'])
    await pool.query(`insert into legs (tenant_id, key, side, value) values (${tenant}, $1, $2, $3)`, [key,
      side, value])
  return reply.code(201).send({ value })
})
app.get('/mark', async () => {
  const { rows: [row] } = await single.query<{ value: string }>(`select value from marks limit 1`)
  return { value: row?.value ?? null }
})
app.get<{ Params: { key: string } }>('/staged/:key', async ({ params }) => ({
  value: await redis.get(`staged ${params.key}`)
}))
app.get<{ Params: { key: string } }>('/value/:key', async ({ params, hostname }) => {
  // Mistake: the key does not name the tenant.
  const known = await redis.get(params.key)
  if (known !== null) return { value: known }
  const value = `${hostname.split('.')[0]}:${params.key}`
  await redis.set(params.key, value)
  return { value }
})

await answerParent(app)
