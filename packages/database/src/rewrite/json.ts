import { JSONPathLegNode, JSONReferenceNode, type JSONOperatorChainNode, type JSONPathNode,
  type OperationNode, type OperatorNode, type ReferenceNode } from 'kysely'

import { make, only, properties } from './checks.ts'
import { operatorNode } from './nodes.ts'
import { refuse } from './refuse.ts'
import type { Scope } from './scope.ts'
import { value } from './value.ts'

const referenceProperties = properties('reference', 'traversal')
const chainProperties = properties('operator', 'values')
const pathProperties = properties('inOperator', 'pathLegs')
const legProperties = properties('type', 'value')

/** Rewrites `"address" -> 'city' ->> 0`. */
export function jsonReference (node: JSONReferenceNode, scope: Scope): OperationNode {
  only(node, referenceProperties)
  const { traversal } = node
  return JSONReferenceNode.create(
    scope.grammar.expression(node.reference, scope) as ReferenceNode,
    traversal.kind === 'JSONPathNode' ? jsonPath(traversal) : chain(traversal)
  )
}

/** Rewrites `'$.city[0]'`. */
export function jsonPath (node: JSONPathNode): JSONPathNode {
  only(node, pathProperties)
  return make<JSONPathNode>({
    kind: 'JSONPathNode',
    inOperator: node.inOperator && arrow(node.inOperator),
    pathLegs: node.pathLegs.map(leg)
  })
}

function chain (node: JSONOperatorChainNode): JSONOperatorChainNode {
  only(node, chainProperties)
  return { kind: 'JSONOperatorChainNode', operator: arrow(node.operator), values: node.values.map(value) }
}

function arrow ({ operator }: OperatorNode): OperatorNode {
  if (operator !== '->' && operator !== '->>')
    return refuse('an operator that is not on the list', 'it can hold any SQL', 'use -> or ->>')
  return operatorNode(operator)
}

function leg (node: JSONPathLegNode): JSONPathLegNode {
  only(node, legProperties)
  const { type, value: input } = node
  const isFit = type === 'Member'
    ? typeof input === 'string' && !/[\\\0]/.test(input)
    : type === 'ArrayLocation' &&
      (Number.isSafeInteger(input) || input === 'last' ||
        (typeof input === 'string' && /^#-\d+$/.test(input)))
  return isFit
    ? JSONPathLegNode.create(type, input)
    : refuse(
      'this leg of a JSON path',
      'it cannot be written into the text of a query safely',
      'use whole numbers for places, and keys without a backslash'
    )
}
