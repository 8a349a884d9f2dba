// An application in a process of its own: the suite on the database of the environment, with slow
// routes.
import { toTenant, memoryRegistry } from '@fastify-tenancy/core'
import Fastify from 'fastify'
import tenancy from 'fastify-tenancy'
import { sql, type Kysely } from 'kysely'

import type { Rows } from '../support/tenants.ts'

const { DATABASE_URL = '', SECRET = '', CLOSE_TIMEOUT = '10s' } = process.env
const app = Fastify({ logger: false })
await app.register(tenancy, {
  baseDomain: 'example.com',
  database: { url: DATABASE_URL, pool: { max: 5 }, fairness: { maxWait: '20s' } },
  rls: { secret: SECRET },
  tables: { tenant: ['notes'] },
  registry: memoryRegistry(['acme', 'globex'].map(slug => toTenant({ id: `id-${slug}`, slug }))),
  closeTimeout: CLOSE_TIMEOUT
})

const dbOf = (request: { db: unknown }): Kysely<Rows> => request.db as Kysely<Rows>
let running = 0
app.addHook('onRequest', async () => {
  process.send?.({ running: ++running })
})
app.get('/notes', async request => dbOf(request).selectFrom('notes').select('body').execute())
app.get('/slow', async request => {
  await sql`select pg_sleep(0.1)`.execute(dbOf(request))
  return dbOf(request).selectFrom('notes').select('body').execute()
})
app.get('/query-without-end', async request => sql`select pg_sleep(600)`.execute(dbOf(request)))
app.get('/transaction-without-end', async request =>
  dbOf(request).transaction().execute(async trx => {
    await trx.insertInto('notes').values({ body: 'acme:never' }).execute()
    await new Promise(() => {})
  }))
app.get('/without-end', async () => new Promise(() => {}))

process.once('SIGTERM', () => {
  void app.close().then(() => process.exit(0))
})
const url = await app.listen({ port: 0, host: '127.0.0.1' })
process.send?.({ port: Number(new URL(url).port) })
