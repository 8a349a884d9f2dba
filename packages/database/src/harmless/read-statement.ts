import type { ColumnUpdateNode, DeleteQueryNode, InsertQueryNode, MatchedNode, MergeQueryNode, OnConflictNode,
  OperationNode, ParensNode, ReferenceNode, ReturningNode, SelectQueryNode, UpdateQueryNode, ValuesNode,
  WhenNode } from 'kysely'

import { only, properties } from '../rewrite/checks.ts'
import { rawText } from '../rewrite/raw.ts'
import { columnName, columnIdentifier, readExpression, readWhere } from './read-expression.ts'
import { readItems, readTarget } from './read-items.ts'
import { readSelect, readSelections, readSubquery } from './read-select.ts'
import { shapeOf } from './read-shape.ts'
import { readNames } from './read-with.ts'
import { Reading, unreadable, type Columns, type HarmlessGrammar, type Item, type ReadingScope,
  type Shape } from './reading.ts'

/**
 * Returns the names that a complete statement uses.
 *
 * @throws UnreadableError or FST_TENANCY_QUERY_REFUSED for unknown nodes
 */
export function read (node: OperationNode, columns: Columns): Reading {
  const reading = new Reading()
  readStatement(node, { grammar, columns, reading, items: [], outer: undefined, names: new Map() })
  return reading
}

const grammar: HarmlessGrammar = { subquery: readSubquery, statement: readStatement }

/**
 * Records the names that a statement or a body of WITH uses, and returns the columns of its rows.
 */
function readStatement (node: OperationNode, scope: ReadingScope): Shape {
  switch (node.kind) {
    case 'SelectQueryNode':
      return readSelect(node as SelectQueryNode, scope)
    case 'InsertQueryNode':
      return insert(node as InsertQueryNode, scope)
    case 'UpdateQueryNode':
      return update(node as UpdateQueryNode, scope)
    case 'DeleteQueryNode':
      return remove(node as DeleteQueryNode, scope)
    case 'MergeQueryNode':
      return merge(node as MergeQueryNode, scope)
    case 'ParensNode':
      return readStatement((node as ParensNode).node, scope)
    default:
      return unreadable(node.kind)
  }
}

const insertProperties = properties(
  'into',
  'columns',
  'values',
  'returning',
  'onConflict',
  'with',
  'defaultValues'
)
const updateProperties = properties('table', 'from', 'joins', 'where', 'updates', 'returning', 'with')
const deleteProperties = properties('from', 'using', 'joins', 'where', 'returning', 'with')
const mergeProperties = properties('into', 'using', 'whens', 'with', 'returning')
const conflictProperties = properties(
  'columns',
  'constraint',
  'indexExpression',
  'indexWhere',
  'updates',
  'updateWhere',
  'doNothing'
)
const fromProperties = properties('froms')
const usingProperties = properties('tables')
const valuesProperties = properties('values')
const columnUpdateProperties = properties('column', 'value')
const referenceProperties = properties('column')
const returningProperties = properties('selections')
const whenProperties = properties('condition', 'result')
const matchedProperties = properties('not', 'bySource')
const mergeUpdateProperties = properties('updates')
const mergeInsertProperties = properties('columns', 'values')

function insert (node: InsertQueryNode, outer: ReadingScope): Shape {
  only(node, insertProperties)
  if (node.explain !== undefined) unreadable('explain')
  const scope = readNames(node.with, outer)
  const target = readTarget(node.into, node.onConflict?.updates === undefined ? 'insert' : 'change', scope)
  content(node, scope)
  if (node.onConflict !== undefined) onConflict(node.onConflict, target, scope)
  return returning(node.returning, { ...scope, items: [target] })
}

function content ({ columns, values }: InsertQueryNode, scope: ReadingScope): void {
  for (const column of columns ?? []) columnName(column)
  if (values === undefined) return
  if (values.kind !== 'ValuesNode') return void readSubquery(values, scope)
  only(values, valuesProperties)
  for (const row of (values as ValuesNode).values) {
    only(row, valuesProperties)
    if (row.kind === 'PrimitiveValueListNode') continue
    for (const cell of row.values) if (cell.kind !== 'DefaultInsertValueNode') readExpression(cell, scope)
  }
}

function onConflict (node: OnConflictNode, target: Item, scope: ReadingScope): void {
  only(node, conflictProperties)
  const onTarget: ReadingScope = { ...scope, items: [target] }
  for (const column of node.columns ?? []) columnName(column)
  if (node.constraint !== undefined) columnIdentifier(node.constraint)
  if (node.indexExpression !== undefined) readExpression(node.indexExpression, onTarget)
  readWhere(node.indexWhere, onTarget)
  const both: ReadingScope = { ...scope, items: [target, { ...target, name: 'excluded' }] }
  updates(node.updates, both)
  readWhere(node.updateWhere, both)
}

function update (node: UpdateQueryNode, outer: ReadingScope): Shape {
  only(node, updateProperties)
  if (node.explain !== undefined) unreadable('explain')
  if (node.from !== undefined) only(node.from, fromProperties)
  const named = readNames(node.with, outer)
  const target = readTarget(node.table, 'change', named)
  const scope: ReadingScope = {
    ...named,
    items: readItems(node.from?.froms ?? [], node.joins, named, [target])
  }
  updates(node.updates, scope)
  readWhere(node.where, scope)
  return returning(node.returning, scope)
}

function remove (node: DeleteQueryNode, outer: ReadingScope): Shape {
  only(node, deleteProperties)
  if (node.explain !== undefined) unreadable('explain')
  only(node.from, fromProperties)
  if (node.from.froms.length !== 1) unreadable('several tables')
  if (node.using !== undefined) only(node.using, usingProperties)
  const named = readNames(node.with, outer)
  const target = readTarget(node.from.froms[0], 'change', named)
  const scope: ReadingScope = {
    ...named,
    items: readItems(node.using?.tables ?? [], node.joins, named, [target])
  }
  readWhere(node.where, scope)
  return returning(node.returning, scope)
}

function merge (node: MergeQueryNode, outer: ReadingScope): Shape {
  only(node, mergeProperties)
  if (node.using === undefined) return unreadable('a MERGE without a source')
  const named = readNames(node.with, outer)
  const target = readTarget(node.into, 'change', named)
  const scope: ReadingScope = { ...named, items: readItems([], [node.using], named, [target]) }
  for (const one of node.whens ?? []) when(one, scope)
  return returning(node.returning, scope)
}

function when (node: WhenNode, scope: ReadingScope): void {
  only(node, whenProperties)
  condition(node.condition, scope)
  const { result } = node
  if (result === undefined) return
  if (result.kind === 'UpdateQueryNode') {
    only(result, mergeUpdateProperties)
    updates((result as UpdateQueryNode).updates, scope)
  } else if (result.kind === 'InsertQueryNode') {
    only(result, mergeInsertProperties)
    content(result as InsertQueryNode, scope)
  } else if (!['delete', 'do nothing'].includes(rawText(result) ?? '')) unreadable('what WHEN does')
}

// Reads MATCHED, or MATCHED and a condition.
function condition (node: OperationNode, scope: ReadingScope): void {
  if (node.kind === 'MatchedNode') return only(node as MatchedNode, matchedProperties)
  if (node.kind !== 'AndNode') return unreadable(node.kind)
  const { left, right } = node as OperationNode & { left: OperationNode; right: OperationNode }
  condition(left, scope)
  readExpression(right, scope)
}

function updates (nodes: readonly ColumnUpdateNode[] | undefined, scope: ReadingScope): void {
  for (const node of nodes ?? []) {
    only(node, columnUpdateProperties)
    // `set t.f = …` writes a field of a column t.
    if (node.column.kind === 'ReferenceNode') only(node.column, referenceProperties)
    columnName(node.column.kind === 'ReferenceNode' ? (node.column as ReferenceNode).column : node.column)
    readExpression(node.value, scope)
  }
}

function returning (node: ReturningNode | undefined, scope: ReadingScope): Shape {
  if (node === undefined) return { columns: new Set(), isComplete: true }
  only(node, returningProperties)
  // `old` and `new` are the row before and after the change since PostgreSQL 18. Earlier versions
  // reject these names.
  const [target] = scope.items
  const versions = target === undefined
    ? []
    : ['old', 'new'].filter(name => !scope.items.some(item => item.name === name)).map(name => ({
      ...target,
      name
    }))
  readSelections(node.selections, { ...scope, items: [...scope.items, ...versions] })
  return shapeOf(node.selections, scope.items)
}
