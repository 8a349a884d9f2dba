// What becomes of each position of the grammar, as text.
import { sql } from 'kysely'
import { jsonArrayFrom, jsonBuildObject, jsonObjectFrom, mergeAction } from 'kysely/helpers/postgres'
import t from 'tap'

import { RowCompiler } from '../../packages/database/src/compilers/row-compiler.ts'
import { kysely, scopeOf, tenant, text } from './compile.ts'

const db = kysely()

t.test("REW-01, REW-02: a table's predicate comes first, the query's condition in parentheses", async t => {
  t.equal(
    text(db.selectFrom('notes').selectAll()),
    'select * from "public"."notes" where "notes"."tenant_id" = :tenant'
  )
  t.equal(
    text(db.selectFrom('notes as x').select('x.id').where(eb => eb('id', '=', 1).or('id', '=', 2))),
    'select "x"."id" from "public"."notes" as "x" where "x"."tenant_id" = :tenant and (("id" = 1 ' +
      'or "id" = 2))'
  )
  t.equal(
    text(db.deleteFrom('notes').where('id', '=', 1)),
    'delete from "public"."notes" where "notes"."tenant_id" = :tenant and ("id" = 1)'
  )
  t.equal(
    text(db.updateTable('notes as x').set({ n: 2 })),
    'update "public"."notes" as "x" set "n" = 2 where "x"."tenant_id" = :tenant'
  )
  t.equal(
    text(db.selectFrom('countries').select('name')),
    'select "name" from "public"."countries"',
    'a shared table carries none'
  )
})

t.test('REW-03: joins', async t => {
  t.equal(
    text(
      db.selectFrom('notes as a').leftJoin('notes as b', 'b.id', 'a.parent').select('b.id').where(
        'a.n',
        '=',
        1
      )
    ),
    'select "b"."id" from "public"."notes" as "a" left join "public"."notes" as "b" on ' +
      '"b"."tenant_id" = :tenant and ("b"."id" = "a"."parent") where "a"."tenant_id" = :tenant and ' +
      '("a"."n" = 1)'
  )
  t.equal(
    text(db.selectFrom('notes as a').rightJoin('notes as b', 'b.id', 'a.parent').select('b.id')),
    'select "b"."id" from "public"."notes" as "a" right join "public"."notes" as "b" on ' +
      '"a"."tenant_id" = :tenant and ("b"."id" = "a"."parent") where "b"."tenant_id" = :tenant'
  )
  t.equal(
    text(db.selectFrom('notes as a').fullJoin('countries as c', 'c.code', 'a.title').select('a.id')),
    'select "a"."id" from (select * from "public"."notes" where "notes"."tenant_id" = :tenant) as ' +
      '"a" full join "public"."countries" as "c" on "c"."code" = "a"."title"'
  )
  t.equal(
    text(db.selectFrom(['notes', 'tags']).crossJoin('countries').select('name')),
    'select "name" from "public"."notes", "public"."tags" cross join "public"."countries" where ' +
      '"notes"."tenant_id" = :tenant and "tags"."tenant_id" = :tenant'
  )
  t.equal(
    text(
      db.selectFrom('notes').innerJoinLateral(
        eb => eb.selectFrom('tags').select('label').whereRef('note_id', '=', 'notes.id').as('x'),
        join => join.onTrue()
      ).select('x.label')
    ),
    'select "x"."label" from "public"."notes" inner join lateral (select "label" from ' +
      '"public"."tags" where "tags"."tenant_id" = :tenant and ("note_id" = "notes"."id")) as "x" on ' +
      'true where "notes"."tenant_id" = :tenant'
  )
})

t.test('REW-04: a name of WITH hides a table, but its own body reads the table', async t => {
  t.equal(
    text(db.with('notes', q => q.selectFrom('notes').select('id')).selectFrom('notes').select('id')),
    'with "notes" as (select "id" from "public"."notes" where "notes"."tenant_id" = :tenant) ' +
      'select "id" from "notes"'
  )
  t.equal(
    text(
      db.with('a', q => q.selectFrom('tags').select('id')).with('tags', q => q.selectFrom('a').select('id'))
        .selectFrom('tags').selectAll()
    ),
    'with "a" as (select "id" from "public"."tags" where "tags"."tenant_id" = :tenant), "tags" as ' +
      '(select "id" from "a") select * from "tags"'
  )
  t.equal(
    text(db.with('notes', q => q.selectFrom('tags').select('id')).deleteFrom('notes')),
    'with "notes" as (select "id" from "public"."tags" where "tags"."tenant_id" = :tenant) delete ' +
      'from "public"."notes" where "notes"."tenant_id" = :tenant',
    'a target is a table'
  )
})

t.test('REW-07: a row is stamped; the own id may be given, and a gap is filled', async t => {
  t.equal(
    text(db.insertInto('notes').values({ id: 1, title: 'a' } as never)),
    'insert into "public"."notes" ("id", "title", "tenant_id") values (1, "a", :tenant)'
  )
  t.equal(
    text(db.insertInto('notes').values([{ id: 1, tenant_id: tenant }, { id: 2 }] as never)),
    'insert into "public"."notes" ("id", "tenant_id") values (1, :tenant), (2, :tenant)'
  )
  t.equal(
    text(db.insertInto('notes').defaultValues()),
    'insert into "public"."notes" ("tenant_id") values (:tenant)'
  )
  t.equal(
    text(
      db.insertInto('tags').columns(['id']).expression(eb =>
        eb.selectFrom('notes').select('id').union(eb.selectFrom('tags').select('id'))
      )
    ),
    'insert into "public"."tags" ("id", "tenant_id") select "id", cast(:tenant as uuid) from ' +
      '"public"."notes" where "notes"."tenant_id" = :tenant union select "id", cast(:tenant as uuid) ' +
      'from "public"."tags" where "tags"."tenant_id" = :tenant'
  )
})

t.test('REW-10: the update of ON CONFLICT carries the predicate', async t => {
  t.equal(
    text(
      db.insertInto('notes').values({ id: 1 } as never).onConflict(oc =>
        oc.columns(['tenant_id', 'id']).doUpdateSet({ n: 1 }).where('notes.n', '=', 0)
      ).returning('id')
    ),
    'insert into "public"."notes" ("id", "tenant_id") values (1, :tenant) on conflict ' +
      '("tenant_id", "id") do update set "n" = 1 where "notes"."tenant_id" = :tenant and ' +
      '("notes"."n" = 0) returning "id"'
  )
})

t.test('REW-06: update from, delete using and merge', async t => {
  t.equal(
    text(
      db.updateTable('notes').from('tags').set({ title: eb => eb.ref('tags.label') }).whereRef(
        'note_id',
        '=',
        'notes.id'
      )
    ),
    'update "public"."notes" set "title" = "tags"."label" from "public"."tags" where ' +
      '"notes"."tenant_id" = :tenant and "tags"."tenant_id" = :tenant and ("note_id" = "notes"."id")'
  )
  t.equal(
    text(db.deleteFrom('notes').using(['tags as x']).whereRef('x.note_id', '=', 'notes.id')),
    'delete from "public"."notes" using "public"."tags" as "x" where "notes"."tenant_id" = :tenant ' +
      'and "x"."tenant_id" = :tenant and ("x"."note_id" = "notes"."id")'
  )
  t.equal(
    text(
      db.mergeInto('notes').using('tags', 'tags.note_id', 'notes.id').whenMatched().thenDelete()
        .whenNotMatched().thenInsertValues({ id: 1 } as never)
        .whenNotMatchedBySourceAnd('n', '=', 1).thenDoNothing().returning(mergeAction().as('action'))
    ),
    'merge into "public"."notes" using (select * from "public"."tags" where "tags"."tenant_id" = ' +
      ':tenant) as "tags" on "notes"."tenant_id" = :tenant and ("tags"."note_id" = "notes"."id") ' +
      'when matched then delete when not matched then insert ("id", "tenant_id") values (1, :tenant) ' +
      'when not matched by source and "notes"."tenant_id" = :tenant and ("n" = 1) then do nothing ' +
      'returning merge_action() as "action"'
  )
})

t.test('REW-22: the JSON helpers are known by their text, and their content is rewritten', async t => {
  t.equal(
    text(db.selectFrom('notes').select(eb => jsonArrayFrom(eb.selectFrom('tags').select('label')).as('x'))),
    'select (select coalesce(json_agg(agg), \'[]\') from (select "label" from "public"."tags" ' +
      'where "tags"."tenant_id" = :tenant) as agg) as "x" from "public"."notes" where ' +
      '"notes"."tenant_id" = :tenant'
  )
  t.equal(
    text(
      db.selectFrom('countries').select(eb => jsonObjectFrom(eb.selectFrom('tags').select('label')).as('x'))
    ),
    'select (select to_json(obj) from (select "label" from "public"."tags" where ' +
      '"tags"."tenant_id" = :tenant) as obj) as "x" from "public"."countries"'
  )
  t.equal(
    text(
      db.selectFrom('countries').select(eb =>
        jsonBuildObject({ a: eb.ref('code'), b: eb.selectFrom('notes').select('n') }).as('x')
      )
    ),
    'select json_build_object(\'a\', "code", \'b\', (select "n" from "public"."notes" where ' +
      '"notes"."tenant_id" = :tenant)) as "x" from "public"."countries"'
  )
})

t.test('REW-20: locks, distinct, windows and limits stay as they are', async t => {
  t.equal(
    text(
      db.selectFrom('notes').select('id').distinctOn('n').orderBy('n', 'desc').limit(1).forUpdate('notes')
        .skipLocked()
    ),
    'select distinct on ("n") "id" from "public"."notes" where "notes"."tenant_id" = :tenant order ' +
      'by "n" desc limit 1 for update of "notes" skip locked'
  )
  t.equal(
    text(
      db.selectFrom('notes').select(({ fn }) =>
        fn.countAll().filterWhere('n', '>', 1).over(ob => ob.partitionBy('n').orderBy('id')).as('x')
      )
    ),
    'select count(*) filter(where "n" > 1) over(partition by "n" order by "id") as "x" from ' +
      '"public"."notes" where "notes"."tenant_id" = :tenant'
  )
})

t.test('sql.val, sql.lit and sql.ref hold one node and no text', async t => {
  t.equal(
    text(
      db.selectFrom('notes').select([sql.val(1).as('a'), sql.lit('x').as('b'),
        sql.ref<number>('notes.n').as('c')])
    ),
    'select 1 as "a", \'x\' as "b", "notes"."n" as "c" from "public"."notes" where ' +
      '"notes"."tenant_id" = :tenant'
  )
})

t.test('two minus signs are no comment', async t => {
  t.equal(
    text(db.selectFrom('notes').select(eb => [eb.neg(eb.neg('n')).as('a'), eb.neg(eb.lit(-1)).as('b')])),
    'select -(-"n") as "a", -(-1) as "b" from "public"."notes" where "notes"."tenant_id" = :tenant'
  )
})

t.test('REW-23: the id is a parameter, once a type, whatever it holds', async t => {
  const id = "x'; drop table notes; --"
  const { sql: statement, parameters } = kysely(new RowCompiler(scopeOf(id))).selectFrom('notes as a')
    .innerJoin('notes as b', 'a.id', 'b.id').selectAll().where('a.n', '=', 7).compile()
  t.same(parameters, [id, 7])
  t.notMatch(statement, /drop/)
  t.equal(statement.match(/\$1\b/g)?.length, 2)
})

t.test("REW-23: an id that its column's type prints differently is refused, such as 007", async t => {
  for (const id of ['007', '+7', '7 ', '2147483648', 'acme', '-0']) {
    t.throws(() => kysely(new RowCompiler(scopeOf(id))).selectFrom('counts').selectAll().compile(), {
      code: 'FST_TENANCY_QUERY_REFUSED'
    }, id)
  }
  t.match(
    kysely(new RowCompiler(scopeOf('7'))).insertInto('counts').values({ account: 7, id: 1, n: 1 }).compile()
      .parameters,
    ['7', 1, 1]
  )
  for (const id of [tenant.toUpperCase(), tenant.replaceAll('-', ''), `{${tenant}}`]) {
    t.throws(() => kysely(new RowCompiler(scopeOf(id))).selectFrom('tags').selectAll().compile(), {
      code: 'FST_TENANCY_QUERY_REFUSED'
    }, id)
  }
})

t.test('REW-27: there is no scope without an id', async t => {
  for (const id of ['', null, 0]) t.throws(() => scopeOf(id as string), TypeError)
})
