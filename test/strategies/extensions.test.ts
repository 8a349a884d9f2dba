// Extensions in public and in a schema of their own: the same query returns the same rows in every
// strategy.
import type { Isolation } from '@fastify-tenancy/core'
import { TenantScope } from '@fastify-tenancy/core/scope'
import { openDatabase, type DatabaseConnectionOptions } from '@fastify-tenancy/database'
import { resolveDatabaseOptions } from '@fastify-tenancy/database/options'
import { sql, type Kysely } from 'kysely'
import t from 'tap'

import { managerFixture, fixtureOptions, unique } from '../manager/manager-fixture.ts'
import { connect } from '../support/sql.ts'

const build = (isShared: boolean): string =>
  `create table notes (${
    isShared ? 'tenant_id text not null, ' : ''
  }id int not null, body text, primary key (${isShared ? 'tenant_id, ' : ''}id))`
const tables = { tenant: ['notes'], shared: ['countries'] }
const strategies: readonly Isolation[] = ['rls', 'schema', 'database']

for (const place of ['public', 'extensions'] as const) {
  t.test(`DAT-03 extensions in ${place} answer alike in every strategy, and a missing table stays an error`, {
    buffered: true
  }, async t => {
    const on = await managerFixture(t, { build, tables })
    const install = `create schema if not exists ${place}; create extension citext schema ${place}; ` +
      `create extension pg_trgm schema ${place}; create extension ltree schema ${place}; ` +
      `grant usage on schema ${place} to public`
    await on.admin(install)
    const given = {
      build,
      tables,
      more: {
        provision: async (
          { tenant, client }: {
            tenant: { isolation: string }
            client: { query(text: string): Promise<unknown> }
          }
        ) => {
          // In a tenant's own database the application installs the extension.
          await client.query(`${
            tenant.isolation === 'database' ?
              `create schema if not exists ${place}; create extension if not exists citext schema ${place};
                create extension if not exists pg_trgm schema ${place};
                create extension if not exists ltree schema ${place};
        grant usage on schema ${place} to public; create table countries (code text primary key);` :
              ''
          } ${build(false)}; alter table notes add mail citext`)
        }
      }
    }
    const { database, rls = {} } = fixtureOptions(on.superUrl, given)
    const manager = on.another(
      {
        ...given.more,
        database: { ...database as DatabaseConnectionOptions, ownerUrl: on.superUrl }
      } as never
    )
    const opened = openDatabase(resolveDatabaseOptions({ database, rls, tables }))
    t.teardown(() => opened.close())
    const answers: unknown[] = []
    for (const isolation of strategies)
      await manager.create({ slug: isolation, id: unique(on, isolation), isolation })
    await opened.boot()
    for (const isolation of strategies) {
      const tenant = await manager.get({ slug: isolation })
      if (tenant === undefined) throw new Error('gone')
      const scope = new TenantScope(tenant, { info () {}, warn () {}, error () {} })
      const db = opened.forScope(scope) as never as Kysely<unknown>
      const { rows } =
        await sql`select 'A'::citext = 'a'::citext as same, round(similarity('word', 'words')::numeric,
          2)::text as close, 'a.b'::ltree <@ 'a'::ltree as below, 'Word' % 'Words' as like`
          .execute(db)
      answers.push(rows)
      await t.rejects(sql`select * from plans`.execute(db), { code: '42P01' }, `${isolation}: SCH-01`)
      if (isolation !== 'rls')
        await t.rejects(sql`insert into public.notes (tenant_id, id) values ('x', 1)`.execute(db))
      scope.abort()
    }
    t.same(answers, strategies.map(() => [{ same: true, close: '0.57', below: true, like: true }]))
    const client = await connect(t, on.superUrl)
    await client.query(
      `drop table "tenant_${unique(on, 'schema')}".notes; insert into notes (tenant_id, id) values ('${
        unique(on, 'rls')
      }', 1)`
    )
    const tenant = await manager.get({ slug: 'schema' })
    if (tenant === undefined) throw new Error('gone')
    const scope = new TenantScope(tenant, { info () {}, warn () {}, error () {} })
    await t.rejects(sql`select * from notes`.execute(opened.forScope(scope) as never), {
      code: place === 'public' ? '42501' : '42P01'
    }, 'SCH-01 a table that the schema lost is never the one of public')
    scope.abort()
  })
}

t.test("DAT-03 a database of a tenant's own that lacks an extension is not made, and the error says which", {
  buffered: true
}, async t => {
  const on = await managerFixture(t, { build, tables })
  await on.admin(
    'create schema extensions; create extension citext schema extensions; ' +
      'grant usage on schema extensions to public'
  )
  const manager = on.another({
    provision: async ({ client }) => {
      await client.query(`${build(false)}; alter table notes add mail citext`)
    }
  })
  await t.rejects(manager.create({ slug: 'acme', id: unique(on, 'a'), isolation: 'database' }), {
    code: 'FST_TENANCY_SETUP_INVALID',
    message: /lacks extensions of the default shard.*create extension citext schema extensions/
  })
  t.match(await manager.create({ slug: 'globex', id: unique(on, 'b'), isolation: 'schema' }), {
    status: 'active'
  })
})
