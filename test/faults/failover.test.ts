// CON-08: the server becomes read-only, as after a failover, and writable again.
import type { FastifyInstance } from 'fastify'
import { sql } from 'kysely'
import t, { type Test } from 'tap'

import { isLong } from '../support/long.ts'
import { startPostgresVersion, type PostgresService } from '../support/services.ts'
import { ask } from '../support/sql.ts'
import { dbOf, noteRoutes, suite } from '../support/suite.ts'
import { provision, type Provisioned } from '../support/tenants.ts'
import { until } from '../support/until.ts'

interface Failover {
  readonly on: Provisioned
  readonly app: FastifyInstance
  send(
    method: 'GET' | 'POST',
    url: string
  ): Promise<{ statusCode: number; body: string; headers: Record<string, unknown> }>
}

/** An application on a PostgreSQL server of this file's own. */
async function failover (t: Test, server: PostgresService): Promise<Failover> {
  process.env.TEST_DATABASE_URL = server.url
  const on = await provision(t)
  const app = await suite(t, on, { database: { pool: { max: 2 } } })
  noteRoutes(app)
  app.get(
    '/pid',
    async request =>
      (await sql<{ pid: number }>`select pg_backend_pid() as pid`.execute(dbOf(request))).rows[0]?.pid
  )
  app.post(
    '/whole',
    { config: { tenancy: { transaction: true } } },
    async request => dbOf(request).insertInto('notes').values({ body: 'whole' }).returning('id').execute()
  )
  app.post(
    '/read-only',
    async request =>
      dbOf(request).transaction().setAccessMode('read only').execute(trx =>
        trx.insertInto('notes').values({ body: 'no' }).execute()
      )
  )
  return {
    on,
    app,
    send: (method, url) =>
      app.inject({
        method,
        url,
        headers: { host: 'acme.example.com' },
        ...(method === 'POST' && { payload: { body: 'note' } })
      })
  }
}

for (const version of isLong ? [15, 18] as const : [18] as const) {
  const server = await startPostgresVersion(version)
  t.teardown(() => server.stop())

  t.test(`CON-08 PostgreSQL ${version}: the server becomes read-only and writable again`, async t => {
    const { on, send } = await failover(t, server)
    t.equal((await send('POST', '/notes')).statusCode, 201)
    await on.admin('alter system set default_transaction_read_only = on')
    await on.admin('select pg_reload_conf()')
    await until(async () =>
      (await on.admin<{ is: string }>("select current_setting('default_transaction_read_only') as is"))[0]
        ?.is === 'on'
    )
    const pids = new Set<string>()
    for (const url of ['/notes', '/transaction', '/whole']) {
      pids.add((await send('GET', '/pid')).body)
      const { statusCode, headers, body } = await send('POST', url)
      t.equal(statusCode, 503, url)
      t.equal(headers['retry-after'], '1', url)
      t.notMatch(body, /read-only|INSERT/i, url)
      t.equal((await send('GET', '/notes')).statusCode, 200, 'reads go on')
    }
    t.equal(pids.size, 3, 'each connection that answered 25006 was replaced')
    await on.admin('set default_transaction_read_only = off')
    await on.admin('alter system reset default_transaction_read_only')
    await on.admin('select pg_reload_conf()')
    await until(async () => (await send('POST', '/notes')).statusCode === 201)
    for (let round = 0; round < 20; round++) {
      for (const url of ['/notes', '/transaction', '/whole'])
        t.match(String((await send('POST', url)).statusCode), /^20[01]$/)
    }
  })

  t.test(`CON-08 PostgreSQL ${version}: a write in a read-only transaction is a plain 500`, async t => {
    const { send } = await failover(t, server)
    const { body } = await send('GET', '/pid')
    const { statusCode, headers, body: reply } = await send('POST', '/read-only')
    t.equal(statusCode, 500)
    t.equal(headers['retry-after'], undefined)
    t.notMatch(reply, /read-only/)
    t.equal((await send('GET', '/pid')).body, body)
  })

  t.test(`CON-08 PostgreSQL ${version}: a standby is promoted`, async t => {
    const { on, send } = await failover(t, server)
    t.equal((await send('POST', '/notes')).statusCode, 201)
    await server.demote()
    await until(async () => (await send('GET', '/notes')).statusCode === 200)
    t.equal((await send('POST', '/notes')).statusCode, 503)
    t.equal((await send('POST', '/transaction')).statusCode, 503)
    t.equal((await send('POST', '/whole')).statusCode, 503)
    t.equal((await send('GET', '/notes')).statusCode, 200)
    await ask(on.superUrl, 'select pg_promote()')
    for (let round = 0; round < 20; round++) {
      for (const url of ['/notes', '/transaction', '/whole'])
        t.match(String((await send('POST', url)).statusCode), /^20[01]$/)
    }
  })
}
