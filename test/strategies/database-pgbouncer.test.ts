// Tenants' own databases behind PgBouncer: the pool detects it, sends statements without names and
// resets the session after each.
import { TenantScope } from '@fastify-tenancy/core/scope'
import { openDatabase, type DatabaseConnectionOptions } from '@fastify-tenancy/database'
import { resolveDatabaseOptions } from '@fastify-tenancy/database/options'
import { sql, type Kysely } from 'kysely'
import pg from 'pg'
import t from 'tap'

import { managerFixture, fixtureOptions, unique } from '../manager/manager-fixture.ts'
import { noPgBouncer, pgBouncer } from '../support/pgbouncer.ts'

for (const size of [1, 4]) {
  t.test(`POOL-19 CON-03 a tenant's own database through PgBouncer with ${size} server connections`, {
    skip: noPgBouncer,
    buffered: true
  }, async t => {
    const on = await managerFixture(t)
    const id = unique(on, 'a')
    const record = await on.manager.create({ id, slug: 'acme', isolation: 'database' })
    const direct = new URL(on.superUrl)
    direct.username = direct.password = `tenant_${id}`
    direct.pathname = `/tenant_${id}`
    const url = await pgBouncer(t, direct.href, 'transaction', { size })
    const { database, rls = {}, tables = {} } = fixtureOptions(on.superUrl)
    const opened = openDatabase(
      resolveDatabaseOptions({
        database: {
          ...database as DatabaseConnectionOptions,
          tenants: { url: url.replaceAll(`tenant_${id}`, '{database}'), pool: { max: 4 } }
        },
        rls,
        tables
      })
    )
    t.teardown(() => opened.close())
    await opened.boot()
    const scope = new TenantScope(record, { info () {}, warn () {}, error () {} })
    t.teardown(() => scope.abort())
    const db = opened.forScope(scope) as never as Kysely<{ labels: { word: string } }>
    // The same text again and again: the next backend would not know its prepared name.
    await Promise.all(
      Array.from({ length: 40 }, (_, n) => db.insertInto('labels').values({ word: `w${n}` }).execute())
    )
    t.equal((await db.selectFrom('labels').selectAll().execute()).length, 40)

    const stranger = new pg.Client(url)
    await stranger.connect()
    t.teardown(() => stranger.end())
    const seen = async (): Promise<unknown[]> => {
      const values = new Set<unknown>()
      for (let n = 0; n < 12; n++)
        values.add((await stranger.query("select current_setting('app.left', true) as kept")).rows[0]?.kept)
      return [...values].filter(value => value === 'acme')
    }
    await sql`select set_config('app.left', 'acme', false)`.execute(db)
    t.same(await seen(), [], 'what a statement left was undone on its backend')
    await t.rejects(sql`select set_config('app.left', 'acme', false), 1 / ${0}::int`.execute(db), {
      code: '22012'
    })
    t.same(await seen(), [], 'and after an error')
    t.same((await stranger.query('select from pg_prepared_statements')).rows, [])
    await stranger.query("select set_config('app.left', 'acme', false)")
    t.not((await seen()).length, 0, 'control: it would be seen')
  })
}
