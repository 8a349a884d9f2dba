import { memoryRegistry } from '@fastify-tenancy/core'
import Fastify from 'fastify'
import tenancy from 'fastify-tenancy'
import { sql } from 'kysely'
import { once } from 'node:events'
import { connect } from 'node:http2'
import type { AddressInfo } from 'node:net'
import t from 'tap'

import { dbOf, tenants } from '../support/suite.ts'
import { provision } from '../support/tenants.ts'
import { until } from '../support/until.ts'

t.test('SHU-04 over HTTP/2 a request and its query are cut off at the deadline', async t => {
  const on = await provision(t)
  const app = Fastify({ http2: true })
  await app.register(tenancy, {
    baseDomain: 'example.com',
    database: on.url,
    rls: { secret: on.secret ?? '' },
    tables: on.tables,
    registry: memoryRegistry(tenants),
    closeTimeout: '100ms'
  })
  app.get('/', async request => sql`select pg_sleep(60)`.execute(dbOf(request)))
  await app.listen({ port: 0, host: '127.0.0.1' })
  const client = connect(`http://127.0.0.1:${(app.server.address() as AddressInfo).port}`).on(
    'error',
    () => {}
  )
  t.teardown(() => {
    client.destroy()
  })
  const stream = client.request({ ':path': '/', ':authority': 'acme.example.com' }).on('error', () => {})
  stream.end()
  const running = async (): Promise<boolean> =>
    (await on.admin(
      "select from pg_stat_activity where datname = current_database() and query like '%pg_sleep(60)%' " +
        "and state = 'active' and pid <> pg_backend_pid()"
    )).length === 1
  await until(running)
  const closed = once(client, 'close')
  await app.close()
  await closed
  await until(async () => !await running())
})
