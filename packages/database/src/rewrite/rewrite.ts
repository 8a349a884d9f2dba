import type { DeleteQueryNode, InsertQueryNode, MergeQueryNode, OperationNode, RootOperationNode,
  SelectQueryNode, UpdateQueryNode } from 'kysely'

import { remove } from './delete.ts'
import { expression } from './expression.ts'
import { insert } from './insert.ts'
import { merge } from './merge.ts'
import { refuse } from './refuse.ts'
import type { Grammar, Scope } from './scope.ts'
import { select, subquery } from './select.ts'
import { update } from './update.ts'

/**
 * Rewrites a complete query so that it can read and write the rows of one tenant only, or refuses
 * it. Pure: the new tree is built from the node kinds and properties that each position of the
 * grammar lists. It shares only values with the old tree.
 *
 * @throws FST_TENANCY_QUERY_REFUSED for unknown nodes
 */
export function rewrite (node: OperationNode, scope: Scope): RootOperationNode {
  switch (node.kind) {
    case 'SelectQueryNode':
      return select(node as SelectQueryNode, scope)
    case 'InsertQueryNode':
      return insert(node as InsertQueryNode, scope)
    case 'UpdateQueryNode':
      return update(node as UpdateQueryNode, scope)
    case 'DeleteQueryNode':
      return remove(node as DeleteQueryNode, scope)
    case 'MergeQueryNode':
      return merge(node as MergeQueryNode, scope)
    case 'RawNode':
      return refuse(
        'raw SQL (sql`…`.execute(), CompiledQuery.raw, introspection)',
        'the tables that it reads cannot be seen',
        "write it with Kysely's builders, or run it through a tenant of strategy rls"
      )
    default:
      return refuse(`a ${node.kind}`, 'it is no statement on rows', 'change tables in a migration')
  }
}

/** The recursive positions of the grammar. */
export const grammar: Grammar = { expression, subquery, body: rewrite }
