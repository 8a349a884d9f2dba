import { openPool } from '@fastify-tenancy/database'
import { createManager } from '@fastify-tenancy/manager'
import t from 'tap'

import { names } from './doctor-fixture.ts'

t.test('PGlite is examined and probed on its one connection, whose login is a superuser', async t => {
  const pool = openPool('pglite://memory')
  t.teardown(() => pool.end())
  const manager = createManager({ database: pool, tables: { tenant: ['notes'] } })
  await manager.init()
  await pool.query(
    'create table notes (tenant_id uuid not null, id int generated always as identity, ' +
      'primary key (tenant_id, id))'
  )
  await manager.protect()
  const report = await manager.doctor({ probe: true })
  t.same(
    names(report, ['error', 'warning']).filter(text => text.startsWith('D')),
    ['D301 role postgres'],
    'the one login of an embedded database is its superuser'
  )
  await manager.close()
})
