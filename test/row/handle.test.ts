// Strategy row end to end, on a database without policies: nothing but the rewriting keeps tenants
// apart here.
import { CompiledQuery, sql } from 'kysely'
import t from 'tap'

import { dbOf, openRow, unprotected } from './support.ts'

t.test('REW-01, REW-06, REW-07: a tenant reads and writes its own rows only', async t => {
  const { url, admin } = await unprotected(t)
  const database = await openRow(t, url)
  const db = dbOf(t, database, 'acme')
  t.same((await db.selectFrom('notes').select('body').orderBy('id').execute()).map(({ body }) => body), [
    'acme:1',
    'acme:2',
    'acme:3'
  ])
  t.equal((await db.updateTable('notes').set({ n: 9 }).executeTakeFirst()).numUpdatedRows, 3n)
  t.equal((await db.deleteFrom('tags').executeTakeFirst()).numDeletedRows, 3n)
  t.same(
    await db.insertInto('notes').values([{ id: 7, body: 'acme:7' }, { id: 8, body: 'acme:8' }]).returning([
      'tenant_id',
      'id'
    ]).execute(),
    [{ tenant_id: 'acme', id: 7 }, { tenant_id: 'acme', id: 8 }]
  )
  t.same(
    await db.insertInto('tags').columns(['id', 'note_id', 'label']).expression(eb =>
      eb.selectFrom('notes').select(['id', 'id as note_id', 'body'])
    ).returning('tenant_id').execute(),
    Array.from({ length: 5 }, () => ({ tenant_id: 'acme' }))
  )
  const { rows } = await admin.query(
    "select (select count(*)::int from notes where tenant_id = 'globex' and n < 9) as notes, " +
      "(select count(*)::int from tags where tenant_id = 'globex') as tags"
  )
  t.same(rows, [{ notes: 3, tags: 3 }])
  t.same(await db.selectFrom('countries').select('code').orderBy('code').execute(), [{ code: 'DE' }, {
    code: 'NL'
  }])
})

t.test('control: the same database shows all tenants to whoever does not rewrite', async t => {
  const { admin } = await unprotected(t)
  t.equal((await admin.query('select * from notes')).rowCount, 6)
})

t.test("REW-10: a conflict with another tenant's row changes nothing and shows nothing", async t => {
  const { url, admin } = await unprotected(t)
  const db = dbOf(t, await openRow(t, url), 'acme')
  const hit = await db.insertInto('notes').values({ id: 99, body: 'globex:1' }).onConflict(oc =>
    oc.column('body').doUpdateSet({ n: 1000 })
  ).returningAll().execute()
  t.same(hit, [])
  t.same((await admin.query("select n from notes where body = 'globex:1'")).rows, [{ n: 1 }])
  t.same(
    await db.insertInto('notes').values({ id: 99, body: 'globex:1' }).onConflict(oc => oc.doNothing())
      .returningAll().execute(),
    []
  )
  await t.rejects(db.insertInto('notes').values({ id: 99, body: 'globex:1' }).execute(), { code: '23505' })
})

t.test('REW-12, REW-13, REW-14: no way round the compiler reaches the database', async t => {
  const { url } = await unprotected(t)
  const db = dbOf(t, await openRow(t, url), 'acme')
  const refused = { code: 'FST_TENANCY_QUERY_REFUSED' }
  const all = CompiledQuery.raw('select * from notes')
  await t.rejects(sql`select * from notes`.execute(db), refused)
  await t.rejects(db.executeQuery(all), refused)
  await t.rejects(db.getExecutor().executeQuery(all), refused)
  await t.rejects(db.withoutPlugins().executeQuery(all), refused)
  await t.rejects(db.connection().execute(connection => connection.executeQuery(all)), refused)
  await t.rejects(
    db.connection().execute(connection => sql`select * from notes`.execute(connection)),
    refused
  )
  await t.rejects(db.transaction().execute(trx => trx.executeQuery(all)), refused)
  await t.rejects(
    (async () => {
      for await (const row of db.getExecutor().stream(all, 1)) t.fail(JSON.stringify(row))
    })(),
    refused
  )
  await t.rejects(db.schema.createTable('x').addColumn('a', 'text').execute(), refused)
  await t.rejects(db.introspection.getTables(), refused)
  await t.rejects(db.selectFrom('unlisted').selectAll().execute(), refused)
  for (
    const handle of [db.withoutPlugins(), db.withSchema('public'), db.withTables<{ x: { a: string } }>()]
  ) {
    t.equal((await handle.selectFrom('notes').selectAll().execute()).length, 3)
  }
  t.equal(
    (await db.connection().execute(connection => connection.selectFrom('notes').selectAll().execute()))
      .length,
    3
  )
})

t.test('a query compiled for one tenant never runs for another, and not with other parameters', async t => {
  const { url } = await unprotected(t)
  const database = await openRow(t, url)
  const [acme, globex] = [dbOf(t, database, 'acme'), dbOf(t, database, 'globex')]
  const query = acme.selectFrom('notes').select('body').where('id', '=', 1).compile()
  t.same((await acme.executeQuery(query)).rows, [{ body: 'acme:1' }])
  await t.rejects(globex.executeQuery(query), {
    code: 'FST_TENANCY_QUERY_REFUSED',
    message: /did not compile itself/
  })
  await t.rejects(globex.transaction().execute(trx => trx.executeQuery(query)), {
    code: 'FST_TENANCY_QUERY_REFUSED'
  })
  await t.rejects(acme.executeQuery({ ...query, parameters: ['globex', 1] }), {
    code: 'FST_TENANCY_QUERY_REFUSED'
  })
  t.throws(() => {
    ;(query.parameters as unknown[])[0] = 'globex'
  }, TypeError)
  t.same(
    (await acme.transaction().execute(trx => trx.executeQuery(query))).rows,
    [{ body: 'acme:1' }],
    'its own transactions run it'
  )
})

t.test('transactions, savepoints, streaming and plugins work as with any Kysely', async t => {
  const { url, admin } = await unprotected(t)
  const db = dbOf(t, await openRow(t, url), 'acme')
  await t.rejects(
    db.transaction().execute(async trx => {
      await trx.deleteFrom('notes').execute()
      throw new Error('no')
    }),
    { message: 'no' }
  )
  const trx = await db.startTransaction().execute()
  await trx.insertInto('notes').values({ id: 10, body: 'acme:10' }).execute()
  const saved = await trx.savepoint('a "name"').execute()
  await saved.deleteFrom('notes').execute()
  await saved.rollbackToSavepoint('a "name"').execute()
  await trx.commit().execute()
  const bodies: string[] = []
  for await (const { body } of db.selectFrom('notes').select('body').orderBy('id').stream(2))
    bodies.push(body)
  t.same(bodies, ['acme:1', 'acme:2', 'acme:3', 'acme:10'])
  t.equal((await admin.query("select from notes where tenant_id = 'globex'")).rowCount, 3)
})

t.test('REW-23: ids of int, bigint and uuid meet their columns as what they are', async t => {
  const { url, admin } = await unprotected(t)
  const uuid = '0b5ad8f4-6d5c-4c1e-9a43-3c1f5f1a2b3c'
  await admin.query(`
    create table by_int (account int, id int); insert into by_int values (7, 1), (8, 2);
    create table by_bigint (account bigint, id int); insert into by_bigint values (7, 1), (8, 2);
    create table by_uuid (account uuid, id int);
    insert into by_uuid values ('${uuid}', 1), (gen_random_uuid(), 2)`)
  const tables = { tenant: { by_int: 'account', by_bigint: 'account', by_uuid: 'account' } }
  const database = await openRow(t, url, { tables })
  for (const [id, table] of [['7', 'by_int'], ['7', 'by_bigint'], [uuid, 'by_uuid']] as const) {
    const db = dbOf(t, database, id).withTables<Record<typeof table, { account: unknown; id: number }>>()
    t.same(await db.selectFrom(table).select('id').execute(), [{ id: 1 }], table)
    t.equal(
      (await db.insertInto(table).columns(['id']).expression(eb => eb.selectFrom(table).select('id'))
        .executeTakeFirst()).numInsertedOrUpdatedRows,
      1n,
      table
    )
    t.same(
      await db.insertInto(table).values({ account: id, id: 5 }).returning('id').execute(),
      [{ id: 5 }],
      table
    )
  }
  await t.rejects(
    dbOf(t, database, '007').withTables<{ by_int: { id: number } }>().selectFrom('by_int').select('id')
      .execute(),
    { code: 'FST_TENANCY_QUERY_REFUSED' }
  )
})

t.test('a table that was not there at boot is refused, and so is a listed view', async t => {
  const { url, admin } = await unprotected(t)
  await admin.query('create view seen as select * from notes')
  const database = await openRow(t, url, { tables: { tenant: ['notes', 'later', 'seen'] } })
  await admin.query('create table later (tenant_id text, id int)')
  const db = dbOf(t, database, 'acme').withTables<Record<'later' | 'seen', { id: number }>>()
  await t.rejects(db.selectFrom('later').selectAll().execute(), {
    code: 'FST_TENANCY_QUERY_REFUSED',
    message: /not there when the application started/
  })
  await t.rejects(db.selectFrom('seen').selectAll().execute(), { code: 'FST_TENANCY_QUERY_REFUSED' })
})

t.test("options: functions of one's own, and what is no name of a function", async t => {
  const { url, admin } = await unprotected(t)
  await admin.query(
    'create schema app; create function app.shout(text) returns text immutable language sql as $$ ' +
      'select upper($1) $$'
  )
  const db = dbOf(t, await openRow(t, url, { row: { functions: ['app.shout'] } }), 'acme')
  t.same(
    await db.selectFrom('notes').select(eb => eb.fn<string>('app.shout', ['body']).as('x')).where(
      'id',
      '=',
      1
    ).execute(),
    [{ x: 'ACME:1' }]
  )
  for (const name of ['drop table', 'Upper', 'a.b.c', '', 'x()']) {
    await t.rejects(openRow(t, url, { row: { functions: [name] } }), {
      code: 'FST_TENANCY_OPTION_INVALID',
      message: /options\.row\.functions/
    }, name)
  }
})
