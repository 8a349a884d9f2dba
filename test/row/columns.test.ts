// Column references against the catalog: what a table does not have may be a function over its
// rows.
import t from 'tap'

import { until } from '../support/until.ts'
import { dbOf, openRow, unprotected } from './support.ts'

const refused = { code: 'FST_TENANCY_QUERY_REFUSED' }

t.test('CON-10: row: table.f, where f is a function over the row, is refused', async t => {
  const { url, admin } = await unprotected(t)
  await admin.query(
    "create function peek (notes) returns text language sql as 'select string_agg(body, '','') " +
      "from notes'; create function any_row (anyelement) returns int language sql as 'select 1'"
  )
  const db = dbOf(t, await openRow(t, url), 'acme')
  await t.rejects(db.selectFrom('notes').select('notes.peek' as never).execute(), refused)
  await t.rejects(db.selectFrom('notes as n').select('n.any_row' as never).execute(), refused)
  await t.rejects(db.updateTable('notes').set({ n: 1 }).returning('notes.peek' as never).execute(), refused)
  await t.rejects(
    db.insertInto('notes').values({ id: 9, body: 'x' }).onConflict(oc =>
      oc.columns(['tenant_id', 'id']).doUpdateSet(eb => ({ body: eb.ref('excluded.peek' as never) }))
    ).execute(),
    refused
  )
  await t.rejects(
    db.mergeInto('notes').using('tags', 'tags.id', 'notes.id').whenMatched().thenUpdateSet(eb => ({
      body: eb.ref('tags.any_row' as never)
    })).execute(),
    refused
  )
  t.match(
    (await admin.query('select notes.peek from notes limit 1')).rows[0],
    { peek: /globex/ },
    'control: PostgreSQL calls it'
  )
  t.equal((await db.selectFrom('notes').select(['notes.id', 'notes.body']).execute()).length, 3)
})

t.test('a column added while the process runs is refused first, and found within seconds', async t => {
  const { url, admin } = await unprotected(t)
  const db = dbOf(t, await openRow(t, url), 'acme')
  const read = (): Promise<unknown> => db.selectFrom('notes').select('notes.later' as never).execute()
  await t.rejects(read(), refused)
  await admin.query('alter table notes add later int')
  await until(() => read().then(() => true, () => false))
})

t.test('columns of functions of the application in FROM', async t => {
  const { url, admin } = await unprotected(t)
  await admin.query(`
    create function pairs (int) returns table (a int, b text) language sql as 'select 1, ''x''';
    create function one (int) returns int language sql as 'select 1';
    create function called (int, out answer int) language sql as 'select 1';
    create type whole as (c int, d int); create function wholes (int) returns setof whole language sql as
      'select 1, 2'`)
  const db = dbOf(
    t,
    await openRow(t, url, { row: { functions: ['pairs', 'one', 'called', 'wholes'] } }),
    'acme'
  )
  const from = (name: string, ...columns: string[]): Promise<unknown> =>
    db.selectFrom(
      ((
        eb: {
          fn: (name: string, args: unknown[]) => { as(alias: string): never }
          lit: (value: number) => unknown
        }
      ) => eb.fn(name, [eb.lit(1)]).as('t')) as never
    ).select(columns.map(column => `t.${column}`) as never).execute()
  t.same(await from('pairs', 'a', 'b'), [{ a: 1, b: 'x' }])
  t.same(await from('one', 't'), [{ t: 1 }])
  t.same(await from('called', 'answer'), [{ answer: 1 }])
  t.same(await from('wholes', 'c', 'd'), [{ c: 1, d: 2 }])
  for (const name of ['pairs', 'one', 'called', 'wholes'])
    await t.rejects(from(name, 'pg_read_file'), refused, name)
})
