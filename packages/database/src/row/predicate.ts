import { AndNode, BinaryOperationNode, ColumnNode, OperatorNode, ParensNode, ReferenceNode, SelectionNode, SelectQueryNode, TableNode, WhereNode, type OperationNode } from 'kysely'

import type { Scope } from './scope.ts'
import type { TenantTable } from './tables.ts'

/**
 * The condition under which a row is the tenant's.
 *
 * ```sql
 * "notes"."tenant_id" = $1
 * ```
 *
 * The column stands bare, so that its index serves.
 */
export function predicate ({ column, type }: TenantTable, item: string, { tenant }: Scope): OperationNode {
  return BinaryOperationNode.create(ReferenceNode.create(ColumnNode.create(column), TableNode.create(item)), OperatorNode.create('='), tenant.parameters[type])
}

/**
 * All of the predicates, and then the user's own condition. In parentheses: an `or` in it must not
 * reach round them, and one that comments the rest out must not close them.
 */
export function conjunction (predicates: readonly OperationNode[], own: OperationNode | undefined): OperationNode | undefined {
  const parts = own === undefined ? predicates : [...predicates, predicates.length === 0 ? own : ParensNode.create(own)]
  return parts.length === 0 ? undefined : parts.reduce((left, right) => AndNode.create(left, right))
}

/**
 * A tenant table with its predicate inside, under the name that the query knows it by.
 *
 * ```sql
 * (select * from "public"."notes" where "notes"."tenant_id" = $1)
 * ```
 */
export function wrapped (table: TenantTable, node: TableNode, scope: Scope): SelectQueryNode {
  return {
    ...SelectQueryNode.createFrom([node]),
    selections: [SelectionNode.createSelectAll()],
    where: WhereNode.create(predicate(table, table.name, scope))
  }
}
