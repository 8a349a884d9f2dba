import { CastNode, DataTypeNode, TupleNode, UnaryOperationNode, ValueListNode, type AndNode,
  type BinaryOperationNode, type CaseNode, type ColumnNode, type JSONPathNode, type JSONReferenceNode,
  type OperationNode, type OperatorNode, type OrNode, type ParensNode, type PrimitiveValueListNode,
  type RawNode, type ReferenceNode, type WhenNode } from 'kysely'

import { call } from './function.ts'
import { jsonPath, jsonReference } from './json.ts'
import { make, nameOf, only, properties } from './checks.ts'
import { andNode, binaryNode, columnNode, orNode, parensNode, referenceNode } from './nodes.ts'
import { binaryOperators, isDataType, unaryOperators } from './operators.ts'
import { raw } from './raw.ts'
import { refuse, refuseKind } from './refuse.ts'
import { itemName, type Scope } from './scope.ts'
import { isNegative, primitiveValues, value } from './value.ts'

/**
 * Rewrites an expression in any position: rebuilds it from known nodes, with every sub-query
 * limited to the tenant.
 */
export function expression (node: OperationNode, scope: Scope): OperationNode {
  switch (node.kind) {
    case 'ReferenceNode':
      return reference(node as ReferenceNode, scope)
    case 'ColumnNode':
      return column(node as ColumnNode)
    case 'ValueNode':
      return value(node)
    case 'PrimitiveValueListNode':
      return primitiveValues(node as PrimitiveValueListNode)
    case 'ValueListNode':
      return ValueListNode.create(list(node as ValueListNode, scope))
    case 'TupleNode':
      return TupleNode.create(list(node as TupleNode, scope))
    case 'ParensNode':
      return parens(node as ParensNode, scope)
    case 'AndNode':
      return both(node as AndNode, andNode, scope)
    case 'OrNode':
      return both(node as OrNode, orNode, scope)
    case 'BinaryOperationNode':
      return binary(node as BinaryOperationNode, scope)
    case 'UnaryOperationNode':
      return unary(node as UnaryOperationNode, scope)
    case 'FunctionNode':
    case 'AggregateFunctionNode':
      return call(node, scope)
    case 'CaseNode':
      return cases(node as CaseNode, scope)
    case 'CastNode':
      return cast(node as CastNode, scope)
    case 'JSONReferenceNode':
      return jsonReference(node as JSONReferenceNode, scope)
    case 'JSONPathNode':
      return jsonPath(node as JSONPathNode)
    case 'SelectQueryNode':
      return scope.grammar.subquery(node, scope)
    case 'RawNode':
      return raw(node as RawNode, scope)
    default:
      return refuseKind(node.kind, 'an expression')
  }
}

const referenceProperties = properties('table', 'column')

function reference (node: ReferenceNode, scope: Scope): OperationNode {
  only(node, referenceProperties)
  if (node.column.kind !== 'ColumnNode') return refuseKind(node.column.kind, 'a column')
  return referenceNode(column(node.column), node.table && itemName(node.table, scope))
}

const columnProperties = properties('column')

/** Returns a copy of a column's name. */
export function column (node: ColumnNode): ColumnNode {
  only(node, columnProperties)
  return columnNode(nameOf(node.column))
}

const listProperties = properties('values')

function list (node: ValueListNode | TupleNode, scope: Scope): OperationNode[] {
  only(node, listProperties)
  return node.values.map(one => expression(one, scope))
}

const parensProperties = properties('node')

function parens (node: ParensNode, scope: Scope): OperationNode {
  only(node, parensProperties)
  return parensNode(expression(node.node, scope))
}

const bothProperties = properties('left', 'right')

function both (
  node: AndNode | OrNode,
  create: (left: OperationNode, right: OperationNode) => OperationNode,
  scope: Scope
): OperationNode {
  only(node, bothProperties)
  return create(expression(node.left, scope), expression(node.right, scope))
}

const binaryProperties = properties('leftOperand', 'operator', 'rightOperand')

function binary (node: BinaryOperationNode, scope: Scope): OperationNode {
  only(node, binaryProperties)
  return binaryNode(
    expression(node.leftOperand, scope),
    operator(node.operator, binaryOperators),
    expression(node.rightOperand, scope)
  )
}

const unaryProperties = properties('operator', 'operand')

function unary (node: UnaryOperationNode, scope: Scope): OperationNode {
  only(node, unaryProperties)
  const operation = operator(node.operator, unaryOperators)
  const operand = expression(node.operand, scope)
  // Parentheses, because Kysely prints no space after a minus, and two of them would begin a
  // comment.
  const isComment = operation.operator === '-' &&
    (isNegative(operand) || operand.kind === 'UnaryOperationNode' || operand.kind === 'BinaryOperationNode')
  return UnaryOperationNode.create(operation, isComment ? parensNode(operand) : operand)
}

const operatorProperties = properties('operator')

function operator (node: OperationNode, allowed: ReadonlyMap<unknown, OperatorNode>): OperatorNode {
  if (node.kind !== 'OperatorNode')
    return refuse('raw SQL as an operator', 'it can hold any SQL', "use one of Kysely's operators")
  only(node, operatorProperties)
  return allowed.get((node as OperatorNode).operator) ??
    refuse(
      'an operator that is not on the list',
      'it can hold any SQL, or is not of PostgreSQL',
      "use one of PostgreSQL's own operators"
    )
}

const caseProperties = properties('value', 'when', 'else')
const whenProperties = properties('condition', 'result')

function cases (node: CaseNode, scope: Scope): OperationNode {
  only(node, caseProperties)
  return make<CaseNode>({
    kind: 'CaseNode',
    value: node.value && expression(node.value, scope),
    when: node.when?.map(one => {
      only(one, whenProperties)
      return make<WhenNode>({
        kind: 'WhenNode',
        condition: expression(one.condition, scope),
        result: one.result && expression(one.result, scope)
      })
    }),
    else: node.else && expression(node.else, scope),
    isStatement: false
  })
}

const castProperties = properties('expression', 'dataType')
const dataTypeProperties = properties('dataType')

function cast (node: CastNode, scope: Scope): OperationNode {
  only(node, castProperties)
  if (node.dataType.kind !== 'DataTypeNode')
    return refuse('raw SQL as a data type', 'it can hold any SQL', "give the type's name to eb.cast()")
  only(node.dataType, dataTypeProperties)
  const { dataType } = node.dataType as DataTypeNode
  if (!isDataType(dataType))
    return refuse(
      'a data type that is not on the list',
      'it can hold any SQL, or is not of PostgreSQL',
      "cast to one of PostgreSQL's own types"
    )
  return CastNode.create(expression(node.expression, scope), DataTypeNode.create(dataType))
}
