import type { FetchNode, OperationNode, ParensNode, SelectQueryNode, SelectionNode } from 'kysely'

import { only, properties } from '../rewrite/checks.ts'
import { rawText } from '../rewrite/raw.ts'
import { value } from '../rewrite/value.ts'
import { readExpression, readOrderBy, readSelection, readWhere } from './read-expression.ts'
import { readItems } from './read-items.ts'
import { shapeOf } from './read-shape.ts'
import { readNames } from './read-with.ts'
import { unreadable, type ReadingScope, type Shape } from './reading.ts'

const known = properties(
  'from',
  'selections',
  'distinctOn',
  'joins',
  'groupBy',
  'orderBy',
  'where',
  'frontModifiers',
  'endModifiers',
  'limit',
  'offset',
  'with',
  'having',
  'setOperations',
  'fetch'
)
const fromProperties = properties('froms')
const parensProperties = properties('node')
const itemsProperties = properties('items')
const groupByProperties = properties('groupBy')
const havingProperties = properties('having')
const limitProperties = properties('limit')
const offsetProperties = properties('offset')
const fetchProperties = properties('rowCount', 'modifier')
const setProperties = properties('operator', 'expression', 'all')
const modifierProperties = properties('modifier', 'of')
const selectionProperties = properties('selection')
const modifiers: ReadonlySet<unknown> = new Set(['Distinct', 'ForUpdate', 'ForNoKeyUpdate', 'ForShare',
  'ForKeyShare', 'NoWait', 'SkipLocked'])
const setOperators: ReadonlySet<unknown> = new Set(['union', 'intersect', 'except'])

/** Records the names that a SELECT in an expression or in FROM uses, and returns its columns. */
export function readSubquery (node: OperationNode, scope: ReadingScope): Shape {
  if (node.kind === 'SelectQueryNode') return readSelect(node as SelectQueryNode, scope)
  if (node.kind !== 'ParensNode') return unreadable(node.kind)
  only(node, parensProperties)
  return readSubquery((node as ParensNode).node, scope)
}

/** Records the names that a SELECT uses, and returns its columns. */
export function readSelect (node: SelectQueryNode, outer: ReadingScope): Shape {
  only(node, known)
  if (node.explain !== undefined) unreadable('explain')
  const named = readNames(node.with, outer)
  if (node.from !== undefined) only(node.from, fromProperties)
  const items = readItems(node.from?.froms ?? [], node.joins, named, [])
  const scope: ReadingScope = { ...named, items, outer }
  for (const one of node.distinctOn ?? []) readExpression(one, scope)
  for (const one of [...node.frontModifiers ?? [], ...node.endModifiers ?? []]) {
    only(one, modifierProperties)
    if (one.rawModifier !== undefined || !modifiers.has(one.modifier)) unreadable('a modifier')
  }
  readSelections(node.selections, scope)
  readWhere(node.where, scope)
  readGroups(node, scope)
  for (const operation of node.setOperations ?? []) {
    only(operation, setProperties)
    if (!setOperators.has(operation.operator)) unreadable('a set operation')
    readSubquery(operation.expression, { ...named, items: [], outer })
  }
  readOrderBy(node.orderBy, scope)
  readLimits(node, scope)
  return shapeOf(node.selections, items)
}

/** Records the names that the list of a SELECT or a RETURNING uses. */
export function readSelections (nodes: readonly SelectionNode[] | undefined, scope: ReadingScope): void {
  for (const node of nodes ?? []) {
    only(node, selectionProperties)
    readSelection(node.selection, scope)
  }
}

function readGroups ({ groupBy, having }: SelectQueryNode, scope: ReadingScope): void {
  if (groupBy !== undefined) only(groupBy, itemsProperties)
  for (const item of groupBy?.items ?? []) {
    only(item, groupByProperties)
    readExpression(item.groupBy, scope)
  }
  if (having === undefined) return
  only(having, havingProperties)
  readExpression(having.having, scope)
}

function readLimits ({ limit, offset, fetch }: SelectQueryNode, scope: ReadingScope): void {
  if (limit !== undefined) {
    only(limit, limitProperties)
    // limit(null) is printed as `limit null`.
    if (rawText(limit.limit) !== 'null') readExpression(limit.limit, scope)
  }
  if (offset !== undefined) {
    only(offset, offsetProperties)
    readExpression(offset.offset, scope)
  }
  if (fetch !== undefined) readFetch(fetch)
}

function readFetch (node: FetchNode): void {
  only(node, fetchProperties)
  if (node.modifier !== 'only' && node.modifier !== 'with ties') unreadable('a modifier of FETCH')
  value(node.rowCount)
}
