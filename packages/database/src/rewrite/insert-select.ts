import type { CastNode, OperationNode, ParensNode, ReferenceNode, SelectQueryNode } from 'kysely'

import { parensNode, selectionNode } from './nodes.ts'
import { refuse } from './refuse.ts'
import type { Scope } from './scope.ts'

/**
 * Returns the source of an `INSERT … SELECT` with the tenant as a further column, in every branch
 * of a set operation. A cast gives it a type, because no column does so there. Its value is equal
 * in every row, so DISTINCT, GROUP BY and UNION keep their meaning.
 */
export function stamped (node: OperationNode, tenant: CastNode, scope: Scope): OperationNode {
  if (node.kind !== 'SelectQueryNode' && node.kind !== 'ParensNode') {
    return refuse(
      'an INSERT from something else than rows or a SELECT',
      'the tenant cannot be added to it',
      'use values(), or expression() with a query of selectFrom()'
    )
  }
  return stamp(scope.grammar.subquery(node, scope), tenant)
}

function stamp (node: OperationNode, tenant: CastNode): OperationNode {
  if (node.kind === 'ParensNode') return parensNode(stamp((node as ParensNode).node, tenant))
  const { selections = [], setOperations, ...select } = node as SelectQueryNode
  return {
    ...select,
    selections: [...selections, selectionNode(tenant as unknown as ReferenceNode)],
    ...(setOperations !== undefined &&
      { setOperations: setOperations.map(one => ({ ...one, expression: stamp(one.expression, tenant) })) })
  } as SelectQueryNode
}
