// What a query builder makes on tables that run nothing of a user's is harmless, whatever the kind
// of statement.
import { sql, type Compilable } from 'kysely'
import { jsonArrayFrom, jsonBuildObject, jsonObjectFrom } from 'kysely/helpers/postgres'
import t from 'tap'

import { server, statements, type Db } from './support.ts'

const fnOf = (eb: never): (name: string, columns: string[]) => { as(name: string): unknown } =>
  (eb as { fn: never }).fn

const harmless: Readonly<Record<string, (db: Db) => Compilable>> = {
  ...statements,
  'join': db =>
    db.selectFrom('parents as p').innerJoin('children as c', 'c.parent_id', 'p.id').leftJoin(
      'parts',
      join => join.onTrue()
    ).select(['p.id', 'c.label as child', 'parts.day']).orderBy('p.name', 'desc').limit(3),
  'sub-query in FROM': db =>
    db.selectFrom(eb => eb.selectFrom('parents').select(['id', 'name as called']).as('s')).select(['s.id',
      's.called']).where('s.called', 'in', ['a', 'b']),
  'all columns of a sub-query': db =>
    db.selectFrom(eb => eb.selectFrom('parents as p').selectAll('p').as('s')).select(['s.id', 's.up']),
  'lateral': db =>
    db.selectFrom('parents as p').innerJoinLateral(
      eb => eb.selectFrom('children').select('label').whereRef('children.parent_id', '=', 'p.id').as('c'),
      join => join.onTrue()
    ).select(['p.id', 'c.label']),
  'exists': db =>
    db.selectFrom('parents').select('id').where(eb =>
      eb.exists(
        eb.selectFrom('children').select('children.id').whereRef('children.parent_id', '=', 'parents.id')
      )
    ),
  'with': db =>
    db.with('c', qb => qb.selectFrom('children').select(['parent_id', 'label'])).with(
      'd',
      qb => qb.selectFrom('c').selectAll()
    ).selectFrom('d').innerJoin('parents', 'parents.id', 'd.parent_id').select(['d.label', 'parents.name']),
  'with names of columns': db =>
    db.with('c(a, b)', qb => qb.selectFrom('children').select(['parent_id as a', 'label as b'])).selectFrom(
      'c'
    ).select(['c.a', 'c.b']),
  'recursive': db =>
    db.withRecursive(
      'r',
      qb =>
        qb.selectFrom('children').select(['id', 'parent_id']).unionAll(
          qb.selectFrom('children').innerJoin('r', 'r.parent_id', 'children.id').select(['children.id',
            'children.parent_id'])
        )
    ).selectFrom('r').select(['r.id']),
  'statement that writes in WITH': db =>
    db.with('gone', qb => qb.deleteFrom('children').returning(['id', 'label'])).selectFrom('gone').select(
      'gone.label'
    ),
  'jsonArrayFrom': db =>
    db.selectFrom('parents').select(
      eb => ['parents.id', jsonArrayFrom(
        eb.selectFrom('children').select(['children.id', 'label']).whereRef(
          'children.parent_id',
          '=',
          'parents.id'
        ).orderBy('label')
      ).as('children')]
    ),
  'jsonObjectFrom': db =>
    db.selectFrom('children').select(
      eb => [
        jsonObjectFrom(
          eb.selectFrom('parents').select('parents.name').whereRef('parents.id', '=', 'children.parent_id')
        ).as('parent'),
        jsonBuildObject({ id: eb.ref('children.id') }).as('built')
      ]
    ),
  'groups': db =>
    db.selectFrom('parents').select(
      eb => ['mood', eb.fn.countAll().as('n'), eb.fn.max('name').as('m'),
        eb.fn<string>('lower', ['up']).as('l')]
    ).groupBy(['mood', 'up']).having(eb => eb.fn.sum('n'), '>', 3),
  'window': db =>
    db.selectFrom('parents').select(eb =>
      eb.fn.agg<number>('row_number').over(over => over.partitionBy('mood').orderBy('parents.at')).as('row')
    ),
  'case, cast and json': db =>
    db.selectFrom('parents').select(
      eb => [eb.case().when('n', '>', 1).then('x').else('y').end().as('c'),
        eb.cast<string>('parents.id', 'text').as('t'), eb.ref('data', '->>').key('a' as never).as('j')]
    ),
  'set operation': db =>
    db.selectFrom('parents').select('id').union(db.selectFrom('children').select('id')).orderBy('id'),
  'locks': db => db.selectFrom('parents').select('mood').forUpdate().skipLocked(),
  'distinct on': db => db.selectFrom('parents').distinctOn('parents.mood').select('mood'),
  'upsert': db =>
    db.insertInto('parents').values({ id: 1, name: 'x' } as never).onConflict(oc =>
      oc.column('id').doUpdateSet(eb => ({ name: eb.ref('excluded.name'), n: eb('parents.n', '+', 1) }))
    ).returning(['parents.id', 'parents.up']),
  'insert from a select': db =>
    db.insertInto('children').columns(['parent_id', 'label']).expression(eb =>
      eb.selectFrom('parents').select(['parents.id', 'parents.name'])
    ),
  'default values': db => db.insertInto('children').defaultValues(),
  'update from': db =>
    db.updateTable('children as c').from('parents as p').set({ label: 'x' }).whereRef(
      'c.parent_id',
      '=',
      'p.id'
    ).returning(['c.id', 'p.name']),
  'delete using': db =>
    db.deleteFrom('children').using('parents').whereRef('children.parent_id', '=', 'parents.id').where(
      'parents.name',
      'like',
      'x%'
    ).returningAll('children'),
  'merge': db =>
    db.mergeInto('children as t').using('parents as s', 's.id', 't.parent_id').whenMatched().thenUpdateSet(
      eb => ({ label: eb.ref('s.name') })
    ).whenNotMatched().thenInsertValues(eb => ({ parent_id: eb.ref('s.id'), label: 'new' })),
  'functions in FROM': db =>
    db.selectFrom(['parents as p', (eb: never) => fnOf(eb)('unnest', ['p.tags']).as('tag')] as never).select(
      ['p.id', 'tag.tag'] as never
    ),
  'columns of json_each': db =>
    db.selectFrom(eb =>
      eb.fn<{ key: string; value: unknown }>('jsonb_each', [eb.cast<string>(eb.val('{}'), 'jsonb')]).as(
        'e'
      ) as never
    ).select(['e.key', 'e.value'] as never),
  'whole rows': db => db.selectFrom('parents').select(eb => eb.fn.toJson('parents').as('row')),
  'values in the text': db =>
    db.selectFrom('parents').select(
      eb => [eb.lit(1).as('one'), sql.lit("it's").as('text'), sql.ref<string>('parents.name').as('ref')]
    )
}

t.test('CON-05: statements of the query builder on clean tables are harmless', async t => {
  const on = await server(t)
  const { db, isHarmless } = await on.schema('clean')
  for (const [kind, build] of Object.entries(harmless)) {
    t.ok(isHarmless(build(db)), kind)
    const { sql: text, parameters } = build(db).compile()
    await on.client.query('begin')
    await on.client.query(text, [...parameters]).then(
      () => t.pass(`${kind} runs`),
      (error: unknown) => t.fail(`${kind}: ${String(error)}: ${text}`)
    )
    await on.client.query('rollback')
  }
})

const touching: Readonly<Record<string, (db: Db) => Compilable>> = {
  'raw SQL': db => ({ compile: () => sql`select 1`.compile(db) }),
  'raw SQL in a query': db => db.selectFrom('parents').select(sql<number>`1 + 1`.as('two')),
  'a raw table': db => db.selectFrom(sql<{ id: number }>`parents`.as('p')).select('p.id'),
  'a function that is on no list': db => db.selectFrom('parents').select(eb => eb.fn<string>('evil').as('e')),
  'set_config': db =>
    db.selectNoFrom(eb => eb.fn<string>('set_config', [eb.val('a.b'), eb.val('c'), eb.lit(false)]).as('e')),
  'CON-24: lastval': db => db.selectNoFrom(eb => eb.fn<string>('lastval').as('e')),
  'CON-24: currval': db =>
    db.selectNoFrom(eb => eb.fn<string>('currval', [eb.val('children_id_seq')]).as('e')),
  'CON-24: current_setting': db =>
    db.selectNoFrom(eb => eb.fn<string>('current_setting', [eb.val('some.thing')]).as('e')),
  'CON-24: prepared texts': db => db.selectFrom('pg_prepared_statements' as never).selectAll(),
  'the state of random()': db => db.selectNoFrom(eb => eb.fn<number>('random').as('e')),
  'SQL in the name of a function': db =>
    db.selectFrom('parents').select(eb => eb.fn<string>('lower(name), evil', []).as('e')),
  'a table of another schema': db =>
    db.withSchema('pg_catalog').selectFrom('pg_settings' as never).selectAll(),
  'a table that is not there': db => db.selectFrom('nothing' as never).selectAll(),
  'a view': db => db.selectFrom('seen' as never).selectAll(),
  'a materialized view': db => db.selectFrom('kept' as never).selectAll(),
  'a column that is not there': db => db.selectFrom('parents').select('parents.nothing' as never),
  'a column of a sub-query that is not there': db =>
    db.selectFrom(eb => eb.selectFrom('parents').select('id').as('s')).select('s.nothing' as never),
  'a column of a name of WITH that is not there': db =>
    db.with('c', qb => qb.selectFrom('parents').select('id')).selectFrom('c').select('c.nothing' as never),
  'a backslash in a literal': db => db.selectFrom('parents').select(sql.lit('\\').as('text'))
}

t.test('what is not proved is not harmless', async t => {
  const { db, isHarmless } = await (await server(t)).schema(
    'clean',
    'create view seen as select id from parents; create materialized view kept as select 1 as id'
  )
  for (const [kind, build] of Object.entries(touching)) t.notOk(isHarmless(build(db)), kind)
  const query = db.selectFrom('parents').selectAll().compile()
  t.ok(isHarmless({ compile: () => query }), 'control: a query that was compiled before')
  t.notOk(isHarmless({ compile: () => ({ ...query }) }), 'a copy of a compiled query')
  t.notOk(
    isHarmless({ compile: () => ({ ...query, sql: "select set_config('a', 'b', false)" }) }),
    'a compiled query with another text'
  )
})
