// `item.name` is a call where the item has no such column: refused where that is certain.
import t from 'tap'

import { server, type Db } from './support.ts'

const functions = `
  create function act (anyelement) returns text language plpgsql as $$ begin return evil(); end $$;
  create function act_on (parents) returns text language plpgsql as $$ begin return evil(); end $$;`

const calls: Readonly<Record<string, (db: Db) => { compile(): unknown }>> = {
  'a function over the row of a table': db => db.selectFrom('parents').select('parents.act_on'),
  'a function over any row': db => db.selectFrom('parents as p').select('p.act'),
  'a function over the row of a sub-query': db =>
    db.selectFrom(eb => eb.selectFrom('parents').select('id').as('s')).select('s.act' as never),
  'a function over the row of a name of WITH': db =>
    db.with('c', qb => qb.selectFrom('parents').select('id')).selectFrom('c').select('c.act' as never),
  'a function over the value of a function in FROM': db =>
    db.selectFrom(eb => eb.fn<{ t: string }>('lower', [eb.val('/etc/passwd')]).as('t') as never).select(
      't.pg_read_file' as never
    ),
  'a function over the row, in WHERE': db =>
    db.selectFrom('parents').select('id').where('parents.act_on', '=', 'x'),
  'a function over the row, in ORDER BY': db =>
    db.selectFrom('parents').select('id').orderBy('parents.act_on'),
  'a function over the row, as an argument': db =>
    db.selectFrom('parents').select(eb => eb.fn<string>('lower', ['parents.act_on']).as('l')),
  'a function over the row, in RETURNING': db => db.deleteFrom('parents').returning('parents.act_on'),
  'a function over excluded': db =>
    db.insertInto('parents').values({ name: 'x' } as never).onConflict(oc =>
      oc.column('id').doUpdateSet(eb => ({ name: eb.ref('excluded.act_on') }))
    ),
  'a function over the row of an outer query': db =>
    db.selectFrom('parents as p').select('p.id').where(eb =>
      eb.exists(eb.selectFrom('children').select('children.id').where('p.act_on', '=', 'x'))
    )
}

t.test('CON-23: rls: a function named as a column of an item of FROM is refused', async t => {
  const on = await server(t)
  const { db, isHarmless } = await on.schema('own', functions)
  for (const [name, build] of Object.entries(calls))
    t.throws(() => build(db).compile(), { code: 'FST_TENANCY_QUERY_REFUSED' }, name)
  t.ok(isHarmless(db.selectFrom('parents').select('parents.name')), 'control: a column')
  t.notOk(
    isHarmless(db.selectFrom('parents').select('parents.nothing')),
    'neither a column nor a function: PostgreSQL answers with an error'
  )
})

t.test('CON-23: a column that has the name of a function is a column', async t => {
  const on = await server(t)
  const { db, isHarmless } = await on.schema(
    'own',
    `${functions} alter table parents add act_on text, add pg_read_file text`
  )
  t.ok(isHarmless(db.selectFrom('parents').select(['parents.act_on', 'parents.pg_read_file'] as never)))
})

t.test('a column of unnest() is no call but where a user has a function of its alias', async t => {
  const on = await server(t)
  const { db, isHarmless } = await on.schema(
    'own',
    'create function bundle (pair) returns text language plpgsql as $$ begin return evil(); end $$'
  )
  const tags = (alias: string): { compile(): never } =>
    db.selectFrom(
      ['parents', (eb: never) =>
        (eb as { fn: (name: string, columns: string[]) => { as(name: string): never } }).fn('unnest', [
          'parents.tags'
        ]).as(alias)] as never
    ).select(`${alias}.${alias}` as never) as never
  t.ok(isHarmless(tags('tag')))
  t.throws(() => tags('bundle').compile(), { code: 'FST_TENANCY_QUERY_REFUSED' })
})
