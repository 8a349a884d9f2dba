import { FunctionNode, PartitionByItemNode, PartitionByNode, type AggregateFunctionNode, type OperationNode,
  type OverNode, type ReferenceNode, type SelectionNode, type TableNode, type WhereNode } from 'kysely'

import { isPlainName } from '../options/plain-name.ts'
import { make, nameOf, only, properties } from './checks.ts'
import { columnNode, referenceNode, tableNode, whereNode } from './nodes.ts'
import { orderBy } from './order-by.ts'
import { refuse } from './refuse.ts'
import { itemName, type Scope } from './scope.ts'
import { selection } from './selection.ts'

const allowedProperties = properties('func', 'arguments')
const aggregateProperties = properties(
  'func',
  'aggregated',
  'distinct',
  'orderBy',
  'withinGroup',
  'filter',
  'over'
)
const overProperties = properties('orderBy', 'partitionBy')
const partitionByProperties = properties('items')
const partitionByItemProperties = properties('partitionBy')
const whereProperties = properties('where')

/** Rewrites a call of a listed function and its arguments. */
export function call (node: OperationNode, scope: Scope): OperationNode {
  return node.kind === 'AggregateFunctionNode'
    ? aggregate(node as AggregateFunctionNode, scope)
    : callInFrom(node, scope)
}

/** Rewrites a call that is no aggregate. Only such calls may stand in FROM. */
export function callInFrom (node: OperationNode, scope: Scope): FunctionNode {
  only(node, allowedProperties)
  const { func, arguments: input } = node as FunctionNode
  return FunctionNode.create(allowed(func, scope), input.map(one => argument(one, scope)))
}

function aggregate (node: AggregateFunctionNode, scope: Scope): AggregateFunctionNode {
  only(node, aggregateProperties)
  return make<AggregateFunctionNode>({
    kind: 'AggregateFunctionNode',
    func: allowed(node.func, scope),
    aggregated: node.aggregated.map(one => argument(one, scope)),
    distinct: Boolean(node.distinct),
    orderBy: node.orderBy && orderBy(node.orderBy, scope),
    withinGroup: node.withinGroup && orderBy(node.withinGroup, scope),
    filter: node.filter && filter(node.filter, scope),
    over: node.over && over(node.over, scope)
  })
}

/** Returns a listed plain name, or refuses it. Checked, because Kysely prints the name unquoted. */
function allowed (name: string, { functions }: Scope): string {
  const text = typeof name === 'string' ? name.toLowerCase() : ''
  if (functions.has(text)) return text
  if (!isPlainName(text))
    return refuse(
      'a function whose name is no plain name',
      'its text can hold any SQL',
      'call it by its name alone'
    )
  return refuse(
    `the function '${text}'`,
    'it is not on the list of functions that are known to read nothing but their arguments',
    "add it to options.row.functions if it reads no tenant's table"
  )
}

// Accepts count(*), and whole rows of an item of FROM, as in to_json("notes").
function argument (node: OperationNode, scope: Scope): OperationNode {
  if (node.kind === 'SelectionNode') return selection(node as SelectionNode, scope)
  if (node.kind === 'TableNode') return rowOrColumn(node as TableNode, scope)
  return scope.grammar.expression(node, scope)
}

// jsonAgg('pet.name') produces a table in a schema for the column of an item.
function rowOrColumn (node: TableNode, scope: Scope): OperationNode {
  const { schema, identifier } = node.table
  if (schema === undefined || schema.name === scope.tables.schema) return itemName(node, scope)
  return referenceNode(columnNode(nameOf(identifier)), tableNode(nameOf(schema)))
}

function filter (node: WhereNode, scope: Scope): WhereNode {
  only(node, whereProperties)
  return whereNode(scope.grammar.expression(node.where, scope))
}

function over (node: OverNode, scope: Scope): OverNode {
  only(node, overProperties)
  return make<OverNode>({
    kind: 'OverNode',
    orderBy: node.orderBy && orderBy(node.orderBy, scope),
    partitionBy: node.partitionBy && partitionBy(node.partitionBy, scope)
  })
}

function partitionBy (node: PartitionByNode, scope: Scope): PartitionByNode {
  only(node, partitionByProperties)
  return PartitionByNode.create(node.items.map(item => {
    only(item, partitionByItemProperties)
    return PartitionByItemNode.create(scope.grammar.expression(item.partitionBy, scope) as ReferenceNode)
  }))
}
