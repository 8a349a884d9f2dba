// One DDL for all strategies: a tenant's own tables with the tenant column.
import type { Isolation } from '@fastify-tenancy/core'
import { TenantScope } from '@fastify-tenancy/core/scope'
import { openDatabase } from '@fastify-tenancy/database'
import { resolveDatabaseOptions } from '@fastify-tenancy/database/options'
import { sql, type Kysely } from 'kysely'
import t from 'tap'

import { isLong } from '../support/long.ts'
import { connect } from '../support/sql.ts'
import { managerFixture, fixtureOptions, secret, unique } from './manager-fixture.ts'

const one = (): string =>
  `create table notes (tenant_id text not null, id serial, body text, primary key (tenant_id, id));
  create table parts (tenant_id text not null, note int not null, n int, foreign key (tenant_id, note)
    references notes on delete cascade)`
const tables = { tenant: ['notes', 'parts'], shared: ['countries'] }

const all = ['database', 'schema', 'rls', 'database', 'rls'] as const
for (const [at, maker] of (['provision', 'migrations'] as const).entries()) {
  t.test(
    `DAT-04 ${maker}: own tables fill the tenant column and refuse another's id after each move`,
    { buffered: true },
    async t => {
      const on = await managerFixture(t, { build: one, tables })
      const id = unique(on, 'a')
      const migrations = {
        tenant: {
          getMigrations: async () => ({
            '001': {
              up: async (db: Kysely<unknown>) => {
                for (const text of one().split(';')) await sql.raw(text).execute(db)
              }
            }
          })
        }
      }
      const manager = maker === 'provision'
        ? on.manager
        : on.another({ provision: async () => {}, migrations })
      await manager.create({ slug: 'acme', id })
      await manager.create({ slug: 'globex', id: 'globex-1' })
      const { database, rls } = fixtureOptions(on.superUrl, { build: one, tables })
      const opened = openDatabase(resolveDatabaseOptions({ database, rls: rls ?? { secret }, tables }))
      t.teardown(() => opened.close())
      await opened.boot()
      let count = 0
      const use = async (): Promise<void> => {
        const tenant = await manager.get({ id })
        if (tenant === undefined) throw new Error('gone')
        const scope = new TenantScope(tenant, { info () {}, warn () {}, error () {} })
        const db = opened.forScope(scope) as never as Kysely<
          {
            notes: { tenant_id: string; id: number; body: string }
            parts: { tenant_id: string; note: number; n: number }
          }
        >
        const note = await db.insertInto('notes').values({ body: `note ${++count}` } as never).returning([
          'id',
          'tenant_id'
        ]).executeTakeFirstOrThrow()
        t.equal(note.tenant_id, id, `${tenant.isolation}: filled by itself`)
        await db.insertInto('parts').values({ note: note.id, n: 1 } as never).execute()
        await t.rejects(
          db.insertInto('notes').values({ tenant_id: 'globex-1', id: 1_000, body: 'stolen' }).execute(),
          `${tenant.isolation}: another's id is refused`
        )
        await t.rejects(
          db.updateTable('notes').set({ tenant_id: 'globex-1' }).execute(),
          `${tenant.isolation}: also by an update`
        )
        t.equal(
          (await db.selectFrom('notes').selectAll().where('tenant_id', '=', id).execute()).length,
          count
        )
        t.equal(
          (await db.selectFrom('parts').innerJoin('notes', 'notes.id', 'parts.note').select('notes.body')
            .execute()).length,
          count
        )
        scope.abort()
      }
      await use()
      for (const isolation of isLong ? all : all.slice(at, at + 2)) {
        await manager.move({ id }, { isolation })
        await use()
        await manager.confirmMove({ id })
      }
    }
  )
}

const set = (
  names: readonly string[]
): { tenant: { getMigrations(): Promise<Record<string, { up(db: Kysely<unknown>): Promise<void> }>> } } => ({
  tenant: {
    getMigrations: async () =>
      Object.fromEntries(names.map(name => [name, {
        up: async (db: Kysely<unknown>) => {
          await sql.raw(`create table ${name} (tenant_id text not null, n int)`).execute(db)
        }
      }]))
  }
})

for (const isolation of ['schema', 'database'] as const satisfies readonly Isolation[]) {
  t.test(
    `DAT-04 ${isolation}: a table that a later migration makes is filled as well, and a purge finds all`,
    { buffered: true },
    async t => {
      const on = await managerFixture(t, { build: one, tables })
      const id = unique(on, 'a')
      await on.another({ provision: async () => {}, migrations: set(['a1']) }).create({
        slug: 'acme',
        id,
        isolation
      })
      await on.another({ provision: async () => {}, migrations: set(['a1', 'a2']) }).migrate()
      const client = await connect(
        t,
        isolation === 'database' ? on.superUrl.replace(/\/[^/]*$/, `/tenant_${id}`) : on.superUrl
      )
      const schema = isolation === 'schema' ? `"tenant_${id}"` : 'public'
      t.match((await client.query(`insert into ${schema}.a2 (n) values (1) returning tenant_id`)).rows, [{
        tenant_id: id
      }])
      await t.rejects(client.query(`insert into ${schema}.a1 values ('globex-1', 1)`), {
        code: '23514',
        constraint: 'tenancy_own_tenant'
      })
      await client.end()
    }
  )
}

t.test(
  'DAT-04 a create or move to a place that lacks the shared tables is refused by their names',
  { buffered: true },
  async t => {
    const on = await managerFixture(t, { build: one, tables, shards: ['eu'] })
    const far = await connect(t, on.shardUrls['eu'] ?? '')
    await far.query('drop table parts')
    await t.rejects(on.manager.create({ slug: 'acme', shard: 'eu' }), {
      code: 'FST_TENANCY_TENANT_CONFLICT',
      message: /shard 'eu' does not have the tables 'parts': run `tenancy migrate` first/
    })
    t.same(await on.admin('select from tenancy.tenants'), [])
    const id = unique(on, 'a')
    await on.manager.create({ slug: 'acme', id })
    const other = on.another({
      provision: async ({ client }) => {
        await client.query(one())
      }
    })
    t.match(
      (await other.move({ id }, { isolation: 'database' })).note,
      /lacks the shared tables countries/
    )
  }
)
