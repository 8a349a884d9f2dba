// What PostgreSQL says of names and joins, without a database.
import { TableNode } from 'kysely'
import t from 'tap'

import { postgresRules } from '../../packages/database/src/rewrite/rules.ts'
import { itemName, resolve, resolveTarget, withNames } from '../../packages/database/src/rewrite/scope.ts'
import { scopeOf } from './compile.ts'

const { place, namesInBody } = postgresRules

t.test('REW-03: no predicate drops a row that a join must keep, or keeps one that it must drop', async t => {
  t.same(place([]), ['where'])
  t.same(place(['InnerJoin']), ['where', 0], 'inner: own ON')
  t.same(place(['LeftJoin']), ['where', 0], 'left: own ON')
  t.same(place(['LateralLeftJoin', 'LateralInnerJoin']), ['where', 0, 1])
  t.same(place(['CrossJoin']), ['where', 'where'], 'there is no ON')
  t.same(place(['RightJoin']), [0, 'where'], 'right: the left side in ON, the right side in WHERE')
  t.same(place(['FullJoin']), ['wrap', 'wrap'], 'full: both sides wrapped')
})

t.test('REW-03: what waits for WHERE is taken by the next join that could fill it with NULL', async t => {
  t.same(place(['LeftJoin', 'RightJoin']), [1, 0, 'where'])
  t.same(place(['RightJoin', 'RightJoin']), [0, 1, 'where'])
  t.same(place(['RightJoin', 'LeftJoin']), [0, 'where', 1])
  t.same(place(['CrossJoin', 'RightJoin']), [1, 1, 'where'])
  t.same(place(['InnerJoin', 'FullJoin']), ['wrap', 0, 'wrap'])
  t.same(place(['RightJoin', 'FullJoin']), [0, 'wrap', 'wrap'])
  t.same(place(['FullJoin', 'RightJoin']), ['wrap', 'wrap', 'where'])
  t.same(place(['FullJoin', 'LeftJoin']), ['wrap', 'wrap', 1])
})

t.test('a body of WITH sees the names before it, and under RECURSIVE all of them', async t => {
  t.same(namesInBody(['a', 'b', 'c'], 0, false), [])
  t.same(namesInBody(['a', 'b', 'c'], 2, false), ['a', 'b'])
  t.same(namesInBody(['a', 'b', 'c'], 0, true), ['a', 'b', 'c'])
})

t.test('a name of WITH hides a table from readers, and never from writers', async t => {
  const scope = withNames(scopeOf(), ['notes'])
  t.equal(resolve(TableNode.create('notes'), scope).kind, 'name')
  t.equal(resolve(TableNode.create('tags'), scope).kind, 'tenant')
  t.equal(
    resolve(TableNode.createWithSchema('public', 'notes'), scope).kind,
    'tenant',
    'a name of WITH has no schema'
  )
  t.equal(resolveTarget(TableNode.create('notes'), scope).kind, 'tenant')
  t.equal(scopeOf().names.size, 0, 'the outer scope is as it was')
  t.equal(withNames(scope, []), scope)
})

t.test('SCH-07, REW-18: a listed table gets its schema, other names are refused', async t => {
  const scope = scopeOf()
  t.match(resolve(TableNode.create('countries'), scope), {
    kind: 'shared',
    node: TableNode.createWithSchema('public', 'countries')
  })
  t.throws(() => resolve(TableNode.createWithSchema('other', 'notes'), scope), {
    code: 'FST_TENANCY_QUERY_REFUSED',
    message: /schema 'other'/
  })
  t.throws(() => resolve(TableNode.createWithSchema('pg_catalog', 'pg_class'), scope), {
    code: 'FST_TENANCY_QUERY_REFUSED'
  })
  t.throws(() => resolve(TableNode.create('secrets'), scope), {
    code: 'FST_TENANCY_QUERY_REFUSED',
    message: /table 'secrets'.*options\.tables/
  })
  t.throws(() => resolve(TableNode.create('x'.repeat(64)), scope), {
    code: 'FST_TENANCY_QUERY_REFUSED',
    message: /63 bytes/
  })
  t.throws(() => resolve(TableNode.create('no\0tes'), scope), { code: 'FST_TENANCY_QUERY_REFUSED' })
  t.same(itemName(TableNode.createWithSchema('public', 'anything'), scope), TableNode.create('anything'))
  t.throws(() => itemName(TableNode.createWithSchema('other', 'anything'), scope), {
    code: 'FST_TENANCY_QUERY_REFUSED'
  })
})
