import { init, postgresRegistry } from '@fastify-tenancy/database'
import { registryConformance } from '@fastify-tenancy/testing'
import pg from 'pg'
import t from 'tap'

import { freshDatabase } from '../support/fresh.ts'
import { connect, connectEmbedded } from '../support/sql.ts'

t.test('on PostgreSQL', async t => {
  const url = await freshDatabase(t)
  const admin = await connect(t, url)
  await init(admin)
  const pool = new pg.Pool({ connectionString: url, max: 4 })
  t.teardown(() => pool.end())
  const gone = new pg.Pool({ host: '127.0.0.1', port: 1 })
  for (const { name, run } of registryConformance(() => postgresRegistry(pool), { unreachable: () => postgresRegistry(gone) })) await t.test(name, run)
})

t.test('on PGlite', async t => {
  const client = await connectEmbedded(t)
  await init(client)
  for (const { name, run } of registryConformance(() => postgresRegistry(client))) await t.test(name, run)
})
