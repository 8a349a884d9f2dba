// Upserts that conflict with an existing row, by the type of the tenant column, under plain and
// signed policies.
import { toTenant } from '@fastify-tenancy/core'
import { TenantScope } from '@fastify-tenancy/core/scope'
import { openDatabase } from '@fastify-tenancy/database'
import { resolveDatabaseOptions } from '@fastify-tenancy/database/options'
import { createManager } from '@fastify-tenancy/manager'
import { sql, type Generated, type Kysely } from 'kysely'
import type pg from 'pg'
import t, { type Test } from 'tap'

import { freshDatabase } from '../support/fresh.ts'
import { connect, loginUrl } from '../support/sql.ts'
import { secret, silent } from './strategy-fixture.ts'

interface Tables {
  /** A primary key per tenant. */
  items: { tenant_id: Generated<string>; key: string; body: string }
  /** One primary key for all tenants, as in a table that was not made for tenants. */
  codes: { tenant_id: Generated<string>; key: string; body: string }
}

const ids = {
  text: ['acme', 'globex'],
  uuid: ['0190f2a4-0000-7000-8000-00000000000a', '0190f2a4-0000-7000-8000-00000000000b'],
  int: ['1', '2'],
  bigint: ['9000000001', '9000000002']
} as const

async function prepare (
  t: Test,
  type: keyof typeof ids,
  rls: object
): Promise<{ a: Kysely<Tables>; bodies: (table: string) => Promise<string[]> }> {
  const superUrl = await freshDatabase(t)
  const admin: pg.Client = await connect(t, superUrl)
  await admin.query(`
    create table items (tenant_id ${type} not null, key text not null, body text not null,
      primary key (tenant_id, key));
    create table codes (tenant_id ${type} not null, key text primary key, body text not null)`)
  const options = {
    database: { url: loginUrl(superUrl, 'app'), ownerUrl: superUrl, pool: { max: 1 } },
    rls,
    tables: { tenant: ['items', 'codes'] }
  }
  const manager = createManager(options)
  t.teardown(() => manager.close())
  await manager.init()
  await manager.protect()
  await admin.query("insert into items select $1, key, 'b:' || key from unnest(array['one', 'two']) key", [
    ids[type][1]
  ])
  await admin.query("insert into codes values ($1, 'theirs', 'b:code')", [ids[type][1]])
  const database = openDatabase(resolveDatabaseOptions(options))
  t.teardown(() => database.close())
  await database.boot()
  const scope = new TenantScope(toTenant({ id: ids[type][0], slug: 'slug-of-a' }), silent)
  return {
    a: database.forScope(scope) as unknown as Kysely<Tables>,
    bodies: async table =>
      (await admin.query<{ body: string }>(`select body from ${table} order by body`)).rows.map(({ body }) =>
        body
      )
  }
}

for (const [mode, rls] of [['plain', {}], ['signed', { secret }]] as const) {
  for (const type of Object.keys(ids) as (keyof typeof ids)[]) {
    t.test(`RLS-12 ${mode}, ${type} column: a conflicting row is the tenant's own or unowned`, async t => {
      const { a, bodies } = await prepare(t, type, rls)
      const insert = (key: string, body: string) => a.insertInto('items').values({ key, body })
      const upsert = (key: string, body: string): Promise<unknown[]> =>
        insert(key, body)
          .onConflict(oc =>
            oc.columns(['tenant_id', 'key']).doUpdateSet(eb => ({ body: eb.ref('excluded.body') }))
          ).returning(['key', 'body']).execute()

      t.same(
        await upsert('one', 'a:one'),
        [{ key: 'one', body: 'a:one' }],
        "no conflict with the other's row of the same key"
      )
      t.same(await upsert('one', 'a:again'), [{ key: 'one', body: 'a:again' }], 'the own row is updated')
      t.same(
        await insert('one', 'a:never').onConflict(oc => oc.doNothing()).returning('body').execute(),
        [],
        'or left alone'
      )
      t.same(
        await insert('one', 'a:never').onConflict(oc =>
          oc.columns(['tenant_id', 'key']).doUpdateSet({ body: 'a:never' }).where('items.body', 'like', 'b:%')
        ).returning('body').execute(),
        [],
        'a condition sees the own row alone'
      )
      t.same(await bodies('items'), ['a:again', 'b:one', 'b:two'])

      const take = a.insertInto('codes').values({ key: 'theirs', body: 'a:code' })
      await t.rejects(take.execute(), { code: '23505' })
      await t.rejects(
        take.onConflict(oc => oc.column('key').doUpdateSet({ body: 'a:stolen' })).returningAll().execute(),
        { code: '42501' },
        'a row of another tenant is not updated'
      )
      t.same(
        await take.onConflict(oc => oc.column('key').doNothing()).returningAll().execute(),
        [],
        'and not shown'
      )
      t.same(await bodies('codes'), ['b:code'])

      t.same(
        await sql`merge into items using (values ('one'), ('two')) source (key) on items.key = source.key
        when matched then update set body = 'a:merged' when not matched then insert (key, body)
          values (source.key, 'a:new')
        returning merge_action() as action, items.key, items.body`.execute(a).then(({ rows }) => rows),
        [{ action: 'UPDATE', key: 'one', body: 'a:merged' }, { action: 'INSERT', key: 'two', body: 'a:new' }],
        'merge matches own rows alone'
      )
      t.equal(
        (await a.mergeInto('items').using('items as same', 'same.key', 'items.key').whenMatchedAnd(
          'items.body',
          'like',
          'b:%'
        ).thenDelete().executeTakeFirst()).numChangedRows,
        0n
      )
      await t.rejects(
        sql`merge into items using (values ('x')) source (key) on false when not matched
          then insert (tenant_id, key, body) values (${ids[type][1]}, 'x', 'a:planted')`.execute(a),
        { code: '42501' }
      )
      await t.rejects(
        sql`insert into items (tenant_id, key, body) values (${
          ids[type][1]
        }, 'one', 'a:stolen') on conflict (tenant_id, key) do update set body = 'a:stolen' returning *`
          .execute(a),
        { code: '42501' }
      )

      t.same(
        await a.updateTable('items').set({ body: 'a:updated' }).where('key', '=', 'one').returning(['key',
          'body']).execute(),
        [{ key: 'one', body: 'a:updated' }]
      )
      await t.rejects(
        sql`update items set tenant_id = ${ids[type][1]} where key = 'one' returning *`.execute(a),
        { code: '42501' },
        'a row is not given away'
      )
      t.same((await a.deleteFrom('items').returning('body').execute()).map(({ body }) => body).toSorted(), [
        'a:new',
        'a:updated'
      ])
      t.same(await bodies('items'), ['b:one', 'b:two'])
    })
  }
}
