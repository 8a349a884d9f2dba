import { openPool } from '@fastify-tenancy/database'
import { createManager } from '@fastify-tenancy/manager'
import { join } from 'node:path'
import t from 'tap'

import { contents, countries, ddl, folder, tables } from './manager-fixture.ts'

t.test('PGlite: a tenant is exported, imported and moved with equal rows', async t => {
  const at = folder(t)
  const pool = openPool('pglite://memory')
  t.teardown(() => pool.end())
  const manager = createManager({
    database: { url: pool, tenants: { url: `pglite://${at}/{database}` } },
    tables,
    provision: async ({ tenant, client }) => {
      await client.query(`${tenant.isolation === 'database' ? `${countries};` : ''}${ddl(false)}`)
    }
  })
  t.teardown(() => manager.close())
  await manager.init()
  await pool.query(`${countries}; ${ddl(true)}`)
  await manager.protect()
  await manager.create({ slug: 'acme', id: 'a' })
  await pool.query(
    "insert into projects (tenant_id, name) select 'a', repeat(md5(g::text), 10) " +
      'from generate_series(1, 1000) g'
  )
  await pool.query(
    'insert into tasks (tenant_id, project_id, title) select tenant_id, id, name from projects'
  )
  await manager.export({ id: 'a' }, { to: join(at, 'export') })
  const before = contents(join(at, 'export'))
  await manager.import(join(at, 'export'), { slug: 'copy', id: 'b', isolation: 'schema' })
  await manager.export({ id: 'b' }, { to: join(at, 'copy') })
  t.same(contents(join(at, 'copy')), before)
  t.match(await manager.move({ id: 'a' }, { isolation: 'schema' }), { isolation: 'schema' })
  await manager.confirmMove({ id: 'a' })
  t.same((await pool.query('select count(*)::int from tasks')).rows, [{ count: 0 }])
  t.match(await manager.move({ id: 'a' }, { isolation: 'database' }), { isolation: 'database' })
  await manager.confirmMove({ id: 'a' })
  await t.rejects(manager.move({ id: 'a' }, { isolation: 'rls' }), {
    code: 'FST_TENANCY_TENANT_CONFLICT',
    message: /suspend the tenant, wait/
  }, 'nothing can lock it out of a folder')
})
