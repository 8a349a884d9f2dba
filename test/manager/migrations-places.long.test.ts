import type { TenantRecord } from '@fastify-tenancy/core'
import { createManager } from '@fastify-tenancy/manager'
import Fastify from 'fastify'
import tenancy from 'fastify-tenancy'
import type { Kysely } from 'kysely'
import t from 'tap'

import { freshDatabase } from '../support/fresh.ts'
import { failure, handle, migrations } from '../support/migrations.ts'
import { connect, databaseOf, loginUrl } from '../support/sql.ts'
import { databaseTemplate, dropDatabases } from '../strategies/strategy-fixture.ts'

const notes = 'await sql`create table notes (id serial primary key, body text)`.execute(db)'

t.test("tenants' own databases are migrated, and the default shard records their state", async t => {
  const { write, another, admin, url, superUrl } = await migrations(t)
  const mark = databaseOf(superUrl).slice(2)
  const ids = ['x', 'y', 'z'].map(name => `${name}-${mark}`)
  const [x, y, z] = ids as [string, string, string]
  dropDatabases(t, superUrl, ids.map(id => `tenant_${id}`))
  const tenants = { url: databaseTemplate(superUrl) }
  write('tenant', '001_notes', notes)
  const manager = another({ isolation: 'database', database: { url, ownerUrl: superUrl, tenants } })
  await manager.init()
  for (const id of ids) await manager.create({ id, slug: `s-${id}` })
  const inside = async (id: string, text: string): Promise<unknown[]> => {
    const client = await connect(t, superUrl.replace(databaseOf(superUrl), `tenant_${id}`))
    return (await client.query(text)).rows
  }
  const applied =
    'select tenant_id, name from tenancy.migration_ledger where applied_at is not null order by 1, 2'
  t.same(await inside(x, applied), [{ tenant_id: x, name: '001_notes' }])
  t.same(await admin(applied), ids.map(id => ({ tenant_id: id, name: '001_notes' })))
  t.match((await manager.status()).tenants, ids.map(id => ({ id, version: '001_notes', isBehind: false })))

  const tenant = await manager.get({ id: x }) as TenantRecord
  const waiting = await handle(t, tenant, { url, tenants, requireMigration: '002_color' })
  t.match(await failure(waiting.selectFrom('notes').selectAll().execute()), {
    code: 'FST_TENANCY_TENANT_NOT_READY',
    statusCode: 503,
    retryAfter: 5,
    cause: { message: /lack migration '002_color': run `tenancy migrate`/ }
  })
  write(
    'tenant',
    '002_color',
    'await sql`alter table notes add color text`.execute(db)',
    'await sql`alter table notes drop color`.execute(db)'
  )
  await inside(y, 'alter table notes add color text')
  await manager.suspend({ id: z })
  t.match(await failure(manager.migrate({ jobs: 2, continue: true })), {
    report: { tenants: { migrated: 2, failed: 1 } }
  })
  t.match((await manager.status()).tenants.find(({ id }) => id === y), {
    version: '001_notes',
    failure: { migration: '002_color', error: /already exists/ }
  })
  t.same(
    await waiting.selectFrom('notes').selectAll().execute(),
    [],
    'the same handle, as soon as it is there'
  )

  // A database that was restored to an earlier day: its own ledger counts, not the copy in the
  // default shard.
  await inside(y, 'alter table notes drop color')
  await inside(
    z,
    "alter table notes drop color; delete from tenancy.migration_ledger where name = '002_color'"
  )
  t.match(await manager.migrate(), { tenants: { migrated: 2, current: 1 } })
  t.same(await manager.migrateDown({ id: z }), ['002_color'])
  t.match((await manager.status()).tenants.find(({ id }) => id === z), {
    version: '001_notes',
    isBehind: true
  })
  t.match(
    await inside(
      z,
      "select has_table_privilege('tenant_' || $1, 'tenancy.migration_ledger', 'select') as reads".replace(
        '$1',
        `'${z}'`
      )
    ),
    [{ reads: false }]
  )
})

t.test('requireMigration answers 503 for a schema tenant until its tables are there', async t => {
  const { manager, write, url, options } = await migrations(t)
  write('tenant', '001_notes', notes)
  await manager.create({ slug: 'acme', id: 'acme-1' })
  await manager.create({ slug: 'rows', id: 'rows-1', isolation: 'rls' })
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(tenancy, {
    baseDomain: 'example.com',
    isolation: 'schema',
    database: { url, requireMigration: '002_color' }
  })
  app.get(
    '/notes',
    async request =>
      (request.db as unknown as Kysely<{ notes: { body: string } }>).selectFrom('notes').selectAll().execute()
  )
  app.get('/free', async () => 'ok')
  const get = (path: string): Promise<{ statusCode: number; headers: Record<string, unknown> }> =>
    app.inject({ url: path, headers: { host: 'acme.example.com' } })
  t.match(await get('/notes'), { statusCode: 503, headers: { 'retry-after': '5' } })
  t.match(await get('/free'), { statusCode: 200 }, 'what needs no table is served')
  write('tenant', '002_color', 'await sql`alter table notes add color text`.execute(db)')
  await manager.migrate()
  t.match(await get('/notes'), { statusCode: 200 })
  t.throws(() => createManager({ ...options, database: { url, requireMigration: '' } }), {
    code: 'FST_TENANCY_OPTION_INVALID',
    message: /options\.database\.requireMigration/
  })
})

t.test('the shared set runs once on each shard, and schemas where they are', async t => {
  const [defaultUrl, secondUrl] = [await freshDatabase(t), await freshDatabase(t)]
  const { write, another } = await migrations(t)
  write('shared', '001_things', 'await sql`create table things (tenant_id text not null)`.execute(db)')
  write('tenant', '001_notes', notes)
  const manager = another({
    tables: { tenant: ['things'] },
    database: {
      url: loginUrl(defaultUrl, 'app'),
      ownerUrl: defaultUrl,
      shards: { second: { url: loginUrl(secondUrl, 'app'), ownerUrl: secondUrl } }
    }
  })
  await manager.init()
  t.match(await manager.migrate(), {
    shared: [{ shard: 'default', applied: ['001_things'] }, { shard: 'second', applied: ['001_things'] }]
  })
  await manager.create({ slug: 'here', id: 'a-here' })
  await manager.create({ slug: 'there', id: 'a-there', shard: 'second' })
  await manager.create({ slug: 'gone', id: 'a-gone', shard: 'second' })
  write('tenant', '002_color', 'await sql`alter table notes add color text`.execute(db)')
  const [first, second] = [await connect(t, defaultUrl), await connect(t, secondUrl)]
  t.match(await manager.migrate({ jobs: 2 }), {
    shared: [{ applied: { length: 0 } }, { applied: { length: 0 } }],
    tenants: { migrated: 3 }
  })
  const columns =
    "select table_schema as schema from information_schema.columns where column_name = 'color' order by 1"
  t.same((await first.query(columns)).rows, [{ schema: 'tenant_a-here' }])
  t.same((await second.query(columns)).rows, [{ schema: 'tenant_a-gone' }, { schema: 'tenant_a-there' }])
  // With a registry elsewhere, the lock and the status of the tenant are checked in that registry.
  write('tenant', '003_more', 'await sql`create table more ()`.execute(db)')
  await first.query("update tenancy.tenants set status = 'deleting' where id = 'a-gone'")
  await second.query('alter schema "tenant_a-gone" rename to gone')
  t.match(await manager.migrate(), { tenants: { migrated: 2, failed: 0 } })
  write('tenant', '004_more', 'await sql`create table even_more ()`.execute(db)')
  await first.query(
    "select tenancy.take_lock('tenancy tenant a-there', 1), tenancy.take_lock('tenancy tenant a-here', 2)"
  )
  const report = {
    report: {
      failures: [{ tenant: 'a-here', error: { code: 'FST_TENANCY_TENANT_CONFLICT' } }, {
        tenant: 'a-there',
        error: { code: 'FST_TENANCY_TENANT_CONFLICT' }
      }]
    }
  }
  t.match(
    await failure(manager.migrate({ continue: true, retries: 1, jobs: 1 })),
    report,
    'a manager is at work on them'
  )
  await first.query(
    "select tenancy.give_lock('tenancy tenant a-there', 1), tenancy.give_lock('tenancy tenant a-here', 2)"
  )
  t.match(await manager.migrate(), { tenants: { migrated: 2 } })
})
