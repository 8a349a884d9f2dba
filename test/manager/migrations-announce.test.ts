import { toTenant } from '@fastify-tenancy/core'
import { TenantScope } from '@fastify-tenancy/core/scope'
import { openDatabase } from '@fastify-tenancy/database'
import { resolveDatabaseOptions } from '@fastify-tenancy/database/options'
import type { Kysely } from 'kysely'
import t from 'tap'

import { failure, migrations } from '../support/migrations.ts'
import { connect } from '../support/sql.ts'
import { until } from '../support/until.ts'

const things = 'await sql`create table things (tenant_id text not null, at date)`.execute(db)'

t.test('CON-06 migrate announces every table change, also after a partial failure', async t => {
  const on = await migrations(t, { tables: { tenant: ['things'] } })
  const heard: unknown[] = []
  const listener = await connect(t, on.url)
  listener.on('notification', ({ payload }) => {
    if (payload === 'catalog') heard.push(payload)
  })
  await listener.query('listen tenancy')
  /** Every earlier announcement has arrived before this answer. */
  const count = async (): Promise<number> => {
    await listener.query('select 1')
    return heard.splice(0).length
  }
  on.write('shared', '001_things', things)
  await on.manager.migrate()
  t.equal(await count(), 1)
  await on.manager.migrate()
  t.equal(await count(), 0, 'nothing was pending')
  await on.schemas(3)
  on.write(
    'tenant',
    '001_notes',
    'await sql`create table notes (id int)`.execute(db)',
    'await sql`drop table notes`.execute(db)'
  )
  await on.manager.migrate({ dryRun: true })
  t.equal(await count(), 0, 'a rehearsal')
  await on.manager.migrate()
  t.ok(await count() > 0)
  await on.manager.migrateDown({ id: 't0001' })
  t.equal(await count(), 1)
  on.write('tenant', '002_wrong', 'await sql`select 1 / 0`.execute(db)')
  t.ok(await failure(on.manager.migrate()))
  t.ok(await count() > 0)
})

t.test('CON-06 a process writes the right value with its next statement after migrate', async t => {
  const on = await migrations(t, { tables: { tenant: ['things'] }, isolation: 'rls' })
  on.write('shared', '001_things', things)
  await on.manager.migrate()
  const database = openDatabase(
    resolveDatabaseOptions({ database: { url: on.url, pool: { max: 1 } }, tables: { tenant: ['things'] } })
  )
  t.teardown(() => database.close())
  await database.boot()
  let heard = 0
  const stop = await database.registry.watch?.(() => {
    heard++
  })
  t.teardown(() => stop?.())
  const scope = new TenantScope(toTenant({ id: 'acme', slug: 'slug-of-acme' }), {
    info () {},
    warn () {},
    error () {}
  })
  const db = database.forScope(scope) as unknown as Kysely<{ things: { at: string } }>
  const add = (): Promise<unknown> => db.insertInto('things').values({ at: '2026-02-03 04:05:06' }).execute()
  await add()
  on.write('shared', '002_time', 'await sql`alter table things alter at type timestamp`.execute(db)')
  await on.manager.migrate()
  // Announcements keep their order, so this later change of a tenant arrives last.
  await on.admin(
    'insert into tenancy.tenants (id, slug, name, status, plan, isolation, shard) ' +
      "values ('acme', 'slug-of-acme', 'Acme', 'active', 'free', 'rls', 'default')"
  )
  await until(() => heard > 0)
  await add()
  t.match(await on.admin('select at::text from things order by at desc'), [{ at: '2026-02-03 04:05:06' }, {
    at: '2026-02-03 00:00:00'
  }])
})
