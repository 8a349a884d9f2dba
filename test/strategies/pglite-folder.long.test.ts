import { TenantScope } from '@fastify-tenancy/core/scope'
import { openDatabase } from '@fastify-tenancy/database'
import { resolveDatabaseOptions } from '@fastify-tenancy/database/options'
import { createManager } from '@fastify-tenancy/manager'
import type { Kysely } from 'kysely'
import { rmSync } from 'node:fs'
import t from 'tap'

import { freshDatabase } from '../support/fresh.ts'
import { temporaryFolder } from '../support/services.ts'
import { until } from '../support/until.ts'
import { silent, tables, type Rows } from './strategy-fixture.ts'

t.test("PGlite: a tenant's folder is made by the manager and reopened after it was idle", async t => {
  const folder = temporaryFolder()
  t.teardown(() => {
    rmSync(folder, { recursive: true, force: true })
  })
  const options = {
    isolation: 'database' as const,
    database: {
      url: await freshDatabase(t),
      tenants: { url: `pglite://${folder}/{database}`, idle: '20ms' }
    },
    tables
  }
  const manager = createManager({
    ...options,
    provision: async ({ client }) => {
      await client.query('create table projects (name text not null)')
    }
  })
  t.teardown(() => manager.close())
  await manager.init()
  const tenant = await manager.create({ slug: 'acme', id: 'a' })
  const database = openDatabase(resolveDatabaseOptions(options))
  t.teardown(() => database.close())
  await database.boot()
  const db = database.forScope(new TenantScope(tenant, silent)) as unknown as Kysely<Rows>
  const { connections } = database.health()
  for (const name of ['acme:1', 'acme:2']) {
    await db.insertInto('projects').values({ name }).execute()
    // Two PGlite instances on one folder would corrupt it, so open the next after this one has
    // closed.
    await until(() => database.health().connections === connections)
  }
  t.same(await db.selectFrom('projects').select('name').execute(), [{ name: 'acme:1' }, { name: 'acme:2' }])
})
