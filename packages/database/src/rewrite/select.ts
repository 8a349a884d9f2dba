import { GroupByItemNode, GroupByNode, HavingNode, LimitNode, OffsetNode, SelectModifierNode,
  SetOperationNode, type FetchNode, type OperationNode, type ParensNode, type SelectModifier,
  type SelectQueryNode, type TableNode, type WhereNode } from 'kysely'

import { fromRelations } from './from.ts'
import { make, only, properties } from './checks.ts'
import { fromNode, parensNode, whereNode } from './nodes.ts'
import { orderBy } from './order-by.ts'
import { conjunction } from './predicate.ts'
import { refuse, refuseKind } from './refuse.ts'
import { itemName, type Scope } from './scope.ts'
import { selections } from './selection.ts'
import { value } from './value.ts'
import { names } from './with.ts'

const allowedProperties = properties(
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
const whereProperties = properties('where')
const setOperators: ReadonlySet<string> = new Set(['union', 'intersect', 'except'])

/** Rewrites a SELECT in parentheses, as a source of rows or a value. */
export function subquery (node: OperationNode, scope: Scope): OperationNode {
  if (node.kind === 'SelectQueryNode') return select(node as SelectQueryNode, scope)
  if (node.kind === 'ParensNode') return parensNode(subquery((node as ParensNode).node, scope))
  return refuseKind(node.kind, 'a sub-query')
}

/**
 * Rewrites `SELECT`: each table that it reads gets its predicate, and so does every SELECT inside.
 */
export function select (node: SelectQueryNode, outer: Scope): SelectQueryNode {
  if (node.explain !== undefined)
    return refuse(
      'explain()',
      'it is no statement on rows',
      'compile the query and explain it with a login of yours'
    )
  only(node, allowedProperties)
  const [withNode, scope] = names(node.with, outer)
  const { expression } = scope.grammar
  const { items, joins, where } = from(node, scope)
  const condition = conjunction(where, node.where && whereCondition(node.where, scope))
  return make<SelectQueryNode>({
    kind: 'SelectQueryNode',
    with: withNode,
    distinctOn: node.distinctOn?.map(one => expression(one, scope)),
    frontModifiers: node.frontModifiers?.map(one => modifier(one, frontModifiers, scope)),
    selections: node.selections && selections(node.selections, scope),
    from: items.length === 0 ? undefined : fromNode(items),
    joins: joins.length === 0 ? undefined : joins,
    where: condition && whereNode(condition),
    groupBy: node.groupBy && groupBy(node.groupBy, scope),
    having: node.having && having(node.having, scope),
    setOperations: node.setOperations?.map(one => setOperation(one, scope)),
    orderBy: node.orderBy && orderBy(node.orderBy, scope),
    limit: node.limit && limit(node.limit, scope),
    offset: node.offset && offset(node.offset, scope),
    fetch: node.fetch && fetch(node.fetch),
    endModifiers: node.endModifiers?.map(one => modifier(one, locks, scope)),
    explain: undefined,
    top: undefined
  })
}

/** Returns the query's own condition in a WHERE. */
export function whereCondition (node: WhereNode, scope: Scope): OperationNode {
  only(node, whereProperties)
  return scope.grammar.expression(node.where, scope)
}

function from ({ from: node, joins }: SelectQueryNode, scope: Scope): ReturnType<typeof fromRelations> {
  if (node !== undefined) only(node, fromProperties)
  if (node === undefined && joins !== undefined)
    return refuse('a join without FROM', 'it joins nothing', 'begin with selectFrom()')
  return fromRelations(node?.froms ?? [], joins, scope)
}

const groupByProperties = properties('items')
const groupByItemProperties = properties('groupBy')

function groupBy (node: GroupByNode, scope: Scope): GroupByNode {
  only(node, groupByProperties)
  return GroupByNode.create(node.items.map(item => {
    only(item, groupByItemProperties)
    return GroupByItemNode.create(scope.grammar.expression(item.groupBy, scope))
  }))
}

const havingProperties = properties('having')

function having (node: HavingNode, scope: Scope): HavingNode {
  only(node, havingProperties)
  return HavingNode.create(scope.grammar.expression(node.having, scope))
}

const limitProperties = properties('limit')

function limit (node: LimitNode, scope: Scope): LimitNode {
  only(node, limitProperties)
  return LimitNode.create(scope.grammar.expression(node.limit, scope))
}

const offsetProperties = properties('offset')

function offset (node: OffsetNode, scope: Scope): OffsetNode {
  only(node, offsetProperties)
  return OffsetNode.create(scope.grammar.expression(node.offset, scope))
}

const setOperationProperties = properties('operator', 'expression', 'all')

function setOperation (node: SetOperationNode, scope: Scope): SetOperationNode {
  only(node, setOperationProperties)
  if (!setOperators.has(node.operator)) return refuseKind(String(node.operator), 'a set operation')
  return SetOperationNode.create(node.operator, subquery(node.expression, scope), Boolean(node.all))
}

const fetchProperties = properties('rowCount', 'modifier')

function fetch (node: FetchNode): FetchNode {
  only(node, fetchProperties)
  if (node.modifier !== 'only' && node.modifier !== 'with ties')
    return refuseKind(String(node.modifier), 'a modifier of FETCH')
  return { kind: 'FetchNode', rowCount: value(node.rowCount), modifier: node.modifier }
}

const modifierProperties = properties('modifier', 'of')
const frontModifiers: ReadonlySet<SelectModifier> = new Set(['Distinct'])
const locks: ReadonlySet<SelectModifier> = new Set(['ForUpdate', 'ForNoKeyUpdate', 'ForShare', 'ForKeyShare',
  'NoWait', 'SkipLocked'])

function modifier (
  node: SelectModifierNode,
  allowed: ReadonlySet<SelectModifier>,
  scope: Scope
): SelectModifierNode {
  if (node.rawModifier !== undefined)
    return refuse(
      'modifyFront() or modifyEnd()',
      'raw SQL can name any table',
      'use forUpdate(), skipLocked(), distinct() and their like'
    )
  only(node, modifierProperties)
  if (node.modifier === undefined || !allowed.has(node.modifier))
    return refuseKind(String(node.modifier), 'a modifier of SELECT')
  return SelectModifierNode.create(
    node.modifier,
    node.of?.map(table => {
      if (table.kind !== 'TableNode') return refuseKind(table.kind, 'a table to lock')
      return itemName(table as TableNode, scope)
    })
  )
}
