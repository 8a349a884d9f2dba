import { SelectAllNode, type OperationNode, type SelectQueryNode, type TableNode } from 'kysely'

import { andNode, binaryNode, columnNode, fromNode, operatorNode, parensNode, referenceNode, selectionNode,
  tableNode, whereNode } from './nodes.ts'
import type { Scope } from './scope.ts'
import type { RewrittenTable } from './tables.ts'

/**
 * The condition under which a row is the tenant's.
 *
 * ```sql
 * "notes"."tenant_id" = $1
 * ```
 *
 * The column stands bare, so that its index serves.
 */
export function predicate ({ column, type }: RewrittenTable, item: string, { tenant }: Scope): OperationNode {
  return binaryNode(
    referenceNode(columnNode(column), tableNode(item)),
    operatorNode('='),
    tenant.parameters[type]
  )
}

/**
 * All of the predicates, and then the user's own condition. In parentheses: an `or` in it must not
 * reach round them, and one that comments the rest out must not close them.
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
 * A tenant table with its predicate inside, under the name that the query knows it by.
 *
 * ```sql
 * (select * from "public"."notes" where "notes"."tenant_id" = $1)
 * ```
 */
export function wrapped (table: RewrittenTable, node: TableNode, scope: Scope): SelectQueryNode {
  return {
    kind: 'SelectQueryNode',
    from: fromNode([node]),
    selections: [selectionNode(SelectAllNode.create())],
    where: whereNode(predicate(table, table.name, scope))
  }
}
