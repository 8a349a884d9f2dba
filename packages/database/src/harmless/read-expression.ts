import type { AggregateFunctionNode, AliasNode, AndNode, BinaryOperationNode, CaseNode, CastNode, ColumnNode,
  DataTypeNode, FunctionNode, IdentifierNode, JSONOperatorChainNode, JSONPathNode, JSONReferenceNode,
  OperationNode, OperatorNode, OrderByNode, OverNode, ParensNode, PartitionByNode, RawNode, ReferenceNode,
  SelectionNode, TableNode, TupleNode, UnaryOperationNode, ValueListNode, WhereNode } from 'kysely'

import { isPlainName } from '../options/plain-name.ts'
import { nameOf, only, properties } from '../rewrite/checks.ts'
import { jsonPath } from '../rewrite/json.ts'
import { isDataType } from '../rewrite/operators.ts'
import { has, joined, jsonArray, jsonBuild, jsonObject, plain, rawText } from '../rewrite/raw.ts'
import { value } from '../rewrite/value.ts'
import { operatorsOf } from './names.ts'
import { refer, unreadable, type ReadingScope } from './reading.ts'

/**
 * Records the names that an expression uses. Node kinds and their properties are those of the
 * grammar of strategy `row`.
 */
export function readExpression (node: OperationNode, scope: ReadingScope): void {
  switch (node.kind) {
    case 'ReferenceNode':
      return reference(node as ReferenceNode, scope)
    case 'ColumnNode':
      return void columnName(node as ColumnNode)
    case 'ValueNode':
      return void value(node)
    case 'PrimitiveValueListNode':
      return only(node, listProperties)
    case 'ValueListNode':
    case 'TupleNode':
      return list(node as ValueListNode | TupleNode, scope)
    case 'ParensNode':
      return only(node, parensProperties), readExpression((node as ParensNode).node, scope)
    case 'AndNode':
    case 'OrNode':
      return only(node, bothProperties), all([(node as AndNode).left, (node as AndNode).right], scope)
    case 'BinaryOperationNode':
      return binary(node as BinaryOperationNode, scope)
    case 'UnaryOperationNode':
      return only(node, unaryProperties),
        operator((node as UnaryOperationNode).operator, scope),
        readExpression((node as UnaryOperationNode).operand, scope)
    case 'FunctionNode':
      return readCall(node as FunctionNode, scope)
    case 'AggregateFunctionNode':
      return aggregate(node as AggregateFunctionNode, scope)
    case 'CaseNode':
      return cases(node as CaseNode, scope)
    case 'CastNode':
      return cast(node as CastNode, scope)
    case 'JSONReferenceNode':
      return jsonReference(node as JSONReferenceNode, scope)
    case 'JSONPathNode':
      return path(node as JSONPathNode, scope)
    case 'SelectQueryNode':
      return void scope.grammar.subquery(node, scope)
    case 'RawNode':
      return raw(node as RawNode, scope)
    // Occurs as an argument of a call: count(*), and to_json("notes") for whole rows.
    case 'SelectionNode':
      return readSelection((node as SelectionNode).selection, scope)
    case 'TableNode':
      return rowOrColumn(node as TableNode, scope)
    default:
      return unreadable(node.kind)
  }
}

/** Records the names that one item of a SELECT or a RETURNING uses. */
export function readSelection (node: OperationNode, scope: ReadingScope): void {
  if (node.kind === 'SelectAllNode') return
  if (node.kind !== 'AliasNode') return readExpression(node, scope)
  only(node, aliasProperties)
  const { node: inner, alias } = node as AliasNode
  columnIdentifier(alias)
  readExpression(inner, scope)
}

/** Records the names that ORDER BY uses. */
export function readOrderBy (node: OrderByNode | undefined, scope: ReadingScope): void {
  if (node === undefined) return
  only(node, itemsProperties)
  for (const item of node.items) {
    only(item, orderProperties)
    const { direction, collation } = item
    if (direction !== undefined && !['asc', 'desc'].includes(rawText(direction) ?? ''))
      unreadable('a direction')
    if (collation !== undefined) columnIdentifier(collation.collation)
    readExpression(item.orderBy, scope)
  }
}

/** Records the names that WHERE uses. */
export function readWhere (node: WhereNode | undefined, scope: ReadingScope): void {
  if (node === undefined) return
  only(node, whereProperties)
  readExpression(node.where, scope)
}

/** Records a call of a function that is no aggregate. Only such calls may stand in FROM. */
export function readCall (node: FunctionNode, scope: ReadingScope): void {
  only(node, callProperties)
  callee(node.func, scope)
  all(node.arguments, scope)
}

/** Returns the name in an identifier. */
export function columnIdentifier (node: OperationNode | undefined): string {
  return node?.kind === 'IdentifierNode' ? nameOf(node as IdentifierNode) : unreadable('a name')
}

/** Returns the name of a column. */
export function columnName (node: OperationNode): string {
  if (node.kind !== 'ColumnNode') return unreadable('a column')
  only(node, columnProperties)
  return columnIdentifier((node as ColumnNode).column)
}

const listProperties = properties('values')
const parensProperties = properties('node')
const bothProperties = properties('left', 'right')
const binaryProperties = properties('leftOperand', 'operator', 'rightOperand')
const unaryProperties = properties('operator', 'operand')
const operatorProperties = properties('operator')
const aliasProperties = properties('node', 'alias')
const itemsProperties = properties('items')
const orderProperties = properties('orderBy', 'direction', 'nulls', 'collation')
const whereProperties = properties('where')
const callProperties = properties('func', 'arguments')
const columnProperties = properties('column')
const referenceProperties = properties('table', 'column')
const tableProperties = properties('table')
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
const partitionProperties = properties('partitionBy')
const caseProperties = properties('value', 'when', 'else')
const whenProperties = properties('condition', 'result')
const castProperties = properties('expression', 'dataType')
const dataTypeProperties = properties('dataType')
const jsonProperties = properties('reference', 'traversal')
const chainProperties = properties('operator', 'values')

function all (nodes: readonly OperationNode[], scope: ReadingScope): void {
  for (const node of nodes) readExpression(node, scope)
}

function list (node: ValueListNode | TupleNode, scope: ReadingScope): void {
  only(node, listProperties)
  all(node.values, scope)
}

function reference (node: ReferenceNode, scope: ReadingScope): void {
  only(node, referenceProperties)
  const { table, column } = node
  const item = table && itemName(table, scope)
  if (column.kind === 'SelectAllNode') return
  const name = columnName(column)
  // An unqualified name is never a call: PostgreSQL takes it for a column or a whole row.
  if (item !== undefined) refer(item, name, scope)
}

/** Returns the name of the item that a column reference means. */
function itemName (node: TableNode, { columns }: ReadingScope): string {
  only(node, tableProperties)
  const { schema, identifier: name } = node.table
  if (schema !== undefined && columnIdentifier(schema) !== columns.schema) unreadable('a schema')
  return columnIdentifier(name)
}

// jsonAgg('pet.name') produces a table in a schema for the column of an item.
function rowOrColumn (node: TableNode, scope: ReadingScope): void {
  only(node, tableProperties)
  const { schema, identifier: name } = node.table
  if (schema === undefined) columnIdentifier(name)
  else refer(columnIdentifier(schema), columnIdentifier(name), scope)
}

function binary (node: BinaryOperationNode, scope: ReadingScope): void {
  only(node, binaryProperties)
  operator(node.operator, scope)
  all([node.leftOperand, node.rightOperand], scope)
}

function operator (node: OperationNode, { reading }: ReadingScope): void {
  if (node.kind !== 'OperatorNode') return unreadable('an operator')
  only(node, operatorProperties)
  for (const name of operatorsOf.get((node as OperatorNode).operator) ?? unreadable('an operator'))
    reading.operators.add(name)
}

function callee (name: unknown, { reading }: ReadingScope): void {
  // Checked, because Kysely prints the name unquoted.
  if (typeof name !== 'string' || !isPlainName(name.toLowerCase())) return unreadable('a function')
  const text = name.toLowerCase()
  reading.functions.add(text)
  if (text === 'nullif') reading.operators.add('=')
}

function aggregate (node: AggregateFunctionNode, scope: ReadingScope): void {
  only(node, aggregateProperties)
  callee(node.func, scope)
  all(node.aggregated, scope)
  readOrderBy(node.orderBy, scope)
  readOrderBy(node.withinGroup, scope)
  readWhere(node.filter, scope)
  if (node.over !== undefined) over(node.over, scope)
}

function over (node: OverNode, scope: ReadingScope): void {
  only(node, overProperties)
  readOrderBy(node.orderBy, scope)
  if (node.partitionBy !== undefined) partitionBy(node.partitionBy, scope)
}

function partitionBy (node: PartitionByNode, scope: ReadingScope): void {
  only(node, itemsProperties)
  for (const item of node.items) {
    only(item, partitionProperties)
    readExpression(item.partitionBy, scope)
  }
}

function cases (node: CaseNode, scope: ReadingScope): void {
  only(node, caseProperties)
  if (node.value !== undefined) {
    scope.reading.operators.add('=')
    readExpression(node.value, scope)
  }
  for (const when of node.when ?? []) {
    only(when, whenProperties)
    readExpression(when.condition, scope)
    if (when.result !== undefined) readExpression(when.result, scope)
  }
  if (node.else !== undefined) readExpression(node.else, scope)
}

function cast (node: CastNode, scope: ReadingScope): void {
  only(node, castProperties)
  const { dataType, expression } = node
  if (dataType.kind !== 'DataTypeNode') return unreadable('a type')
  only(dataType, dataTypeProperties)
  if (!isDataType((dataType as DataTypeNode).dataType)) return unreadable('a type')
  readExpression(expression, scope)
}

function jsonReference (node: JSONReferenceNode, scope: ReadingScope): void {
  only(node, jsonProperties)
  readExpression(node.reference, scope)
  if (node.traversal.kind === 'JSONPathNode') return path(node.traversal, scope)
  const chain: JSONOperatorChainNode = node.traversal
  only(chain, chainProperties)
  operator(chain.operator, scope)
  for (const one of chain.values) value(one)
}

function path (node: JSONPathNode, scope: ReadingScope): void {
  const { inOperator } = jsonPath(node)
  if (inOperator !== undefined) operator(inOperator, scope)
}

// Accepts the SQL of Kysely's own helpers, as strategy row does.
function raw (node: RawNode, scope: ReadingScope): void {
  const { sqlFragments: texts, parameters } = node
  const [first] = parameters
  const { functions } = scope.reading
  if (first !== undefined && parameters.length === 1) {
    if (has(texts, ['', '']) && plain.has(first.kind)) return readExpression(first, scope)
    if (has(texts, jsonArray)) return functions.add('json_agg'), void scope.grammar.subquery(first, scope)
    if (has(texts, jsonObject)) return functions.add('to_json'), void scope.grammar.subquery(first, scope)
    if (has(texts, jsonBuild) && first.kind === 'RawNode')
      return functions.add('json_build_object'), all(joined(first as RawNode), scope)
  }
  if (has(texts, ['merge_action()']) && parameters.length === 0) return
  return unreadable('raw SQL')
}
