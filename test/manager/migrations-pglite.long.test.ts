import { openPool } from '@fastify-tenancy/database'
import { createManager } from '@fastify-tenancy/manager'
import { sql } from 'kysely'
import type { Migration } from 'kysely/migration'
import t from 'tap'

import { failure, handle } from '../support/migrations.ts'

t.test('on PGlite: shared tables, schemas and databases, with one connection', async t => {
  const pools = new Map([['lite-db', openPool('pglite://memory')]])
  const pool = openPool('pglite://memory')
  t.teardown(async () => {
    await Promise.all([pool, ...pools.values()].map(each => each.end()))
  })
  const shared: Record<string, Migration> = {
    '001': {
      up: async db => {
        await sql`create table things (tenant_id text not null)`.execute(db)
      }
    }
  }
  const own: Record<string, Migration> = {
    '001': {
      up: async db => {
        await sql`create table notes (body text)`.execute(db)
      }
    }
  }
  const tenants = { url: ({ id }: { id: string }) => pools.get(id) ?? pool }
  const manager = createManager({
    database: { url: pool, tenants },
    isolation: 'schema',
    tables: { tenant: ['things'] },
    migrations: { shared: { getMigrations: async () => shared }, tenant: { getMigrations: async () => own } }
  })
  t.teardown(() => manager.close())
  await manager.init()
  t.match(await manager.migrate(), { shared: [{ applied: ['001'] }] })
  await manager.create({ slug: 'lite', id: 'lite-schema' })
  const tenant = await manager.create({ slug: 'lite-2', id: 'lite-db', isolation: 'database' })
  own['002'] = {
    up: async db => {
      await sql`alter table notes add color text`.execute(db)
    }
  }
  const waiting = await handle(t, tenant, { url: pool, tenants, requireMigration: '002' })
  t.match(await failure(waiting.selectFrom('notes').selectAll().execute()), {
    code: 'FST_TENANCY_TENANT_NOT_READY'
  })
  t.match(await manager.migrate({ jobs: 3 }), { tenants: { migrated: 2, failed: 0 } })
  t.match((await manager.status()).tenants.map(({ version }) => version), ['002', '002'])
  t.same(await waiting.selectFrom('notes').selectAll().execute(), [])
  own['003'] = {
    up: async db => {
      await sql`alter table notes add due date`.execute(db)
    }
  }
  t.match(await manager.migrate({ check: true }), { tenants: { migrated: 2 }, failures: { length: 0 } })
  t.match((await manager.status()).tenants.map(({ pending }) => pending), [['003'], ['003']], 'taken back')
  const alone: Migration & { transaction: boolean } = {
    transaction: false,
    up: async db => {
      await sql`create index concurrently notes_body on notes (body)`.execute(db)
    }
  }
  own['004'] = alone
  t.match(await manager.migrate({ check: true }), { unrehearsed: ['004'] })
  t.match(await manager.migrate(), { tenants: { migrated: 2, failed: 0 } })
  t.match((await manager.status()).tenants.map(({ version }) => version), ['004', '004'])
})
