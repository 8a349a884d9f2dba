import type { TenantRecord } from '@fastify-tenancy/core'
import { openDatabase, openPool } from '@fastify-tenancy/database'
import { resolveDatabaseOptions } from '@fastify-tenancy/database/options'
import { createManager } from '@fastify-tenancy/manager'
import t from 'tap'

import { tags, tenants as names } from '../isolation/harness.ts'
import { fill, harnessHandles } from './harness-handles.ts'
import { ownTables, tables } from './strategy-fixture.ts'

t.test('PGlite: a schema per tenant, and a PGlite per tenant, leak nothing', async t => {
  const pool = openPool('pglite://memory')
  t.teardown(() => pool.end())
  const own = new Map<string, ReturnType<typeof openPool>>()
  t.teardown(() => Promise.all([...own.values()].map(each => each.end())))
  const poolOf = ({ id }: { id: string }): ReturnType<typeof openPool> => {
    const known = own.get(id) ?? openPool('pglite://memory')
    own.set(id, known)
    return known
  }
  const options = { database: { url: pool, tenants: { url: poolOf } }, tables }
  const manager = createManager({
    ...options,
    provision: async ({ client }) => {
      await client.query(ownTables)
    }
  })
  await manager.init()
  const tenants = new Map<string, TenantRecord>()
  for (const [n, name] of names.entries())
    tenants.set(
      name,
      await manager.create({ id: name, slug: `the-${name}`, isolation: n === 0 ? 'database' : 'schema' })
    )
  const database = openDatabase(resolveDatabaseOptions({ ...options, isolation: 'schema' }))
  await database.boot()
  await fill(database, tenants)
  // The whole harness keeps this one connection busy for half a minute on a loaded machine.
  const handleOf = harnessHandles(database, tenants)
  for (const name of names) t.same(await handleOf(name).list(), tags(name))
  await Promise.all([...names, ...names].map(async name => t.same(await handleOf(name).list(), tags(name))))
  t.same(await handleOf(names[1] ?? '').remove(tags(names[2] ?? '')[0] ?? ''), [])
  await database.close()
  t.equal((await pool.query('select 1 as one')).rows[0].one, 1, 'pools that were passed in stay open')
})
