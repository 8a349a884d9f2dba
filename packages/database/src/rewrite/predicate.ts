import { SelectAllNode, type OperationNode, type SelectQueryNode, type TableNode } from 'kysely'

import { andNode, binaryNode, columnNode, fromNode, operatorNode, parensNode, referenceNode, selectionNode,
  tableNode, whereNode } from './nodes.ts'
import type { Scope } from './scope.ts'
import type { RewrittenTable } from './tables.ts'

/**
 * Returns the condition that a row belongs to the tenant.
 *
 * ```sql "notes"."tenant_id" = $1 ```
 *
 * The column stands bare, so that its index can be used.
 */
export function predicate ({ column, type }: RewrittenTable, item: string, { tenant }: Scope): OperationNode {
  return binaryNode(
    referenceNode(columnNode(column), tableNode(item)),
    operatorNode('='),
    tenant.parameters[type]
  )
}

/**
 * Returns all predicates, followed by the query's own condition in parentheses. Otherwise an `or`
 * in it would bypass the predicates, or a comment in it would remove the rest.
 */
export function conjunction (
  predicates: readonly OperationNode[],
  own: OperationNode | undefined
): OperationNode | undefined {
  const parts = own === undefined
    ? predicates
    : [...predicates, predicates.length === 0 ? own : parensNode(own)]
  return parts.length === 0 ? undefined : parts.reduce((left, right) => andNode(left, right))
}

/**
 * Returns a tenant table with its predicate inside, under its name in the query.
 *
 * ```sql (select * from "public"."notes" where "notes"."tenant_id" = $1) ```
 */
export function wrapped (table: RewrittenTable, node: TableNode, scope: Scope): SelectQueryNode {
  return {
    kind: 'SelectQueryNode',
    from: fromNode([node]),
    selections: [selectionNode(SelectAllNode.create())],
    where: whereNode(predicate(table, table.name, scope))
  }
}
