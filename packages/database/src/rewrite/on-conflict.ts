import type { OnConflictNode } from 'kysely'

import { column } from './expression.ts'
import { make, nameOf, only, properties } from './checks.ts'
import { identifierNode, whereNode } from './nodes.ts'
import { conjunction, predicate } from './predicate.ts'
import type { Scope } from './scope.ts'
import { whereCondition } from './select.ts'
import { updates, type WriteTarget } from './targets.ts'

const allowedProperties = properties(
  'columns',
  'constraint',
  'indexExpression',
  'indexWhere',
  'updates',
  'updateWhere',
  'doNothing'
)

/**
 * Rewrites `ON CONFLICT`. The conflicting row may be another tenant's, so the update carries the
 * predicate and then does nothing.
 */
export function onConflict (node: OnConflictNode, target: WriteTarget, scope: Scope): OnConflictNode {
  only(node, allowedProperties)
  const own = target.table === undefined ? [] : [predicate(target.table, target.name, scope)]
  const condition = node.updates &&
    conjunction(own, node.updateWhere && whereCondition(node.updateWhere, scope))
  return make<OnConflictNode>({
    kind: 'OnConflictNode',
    columns: node.columns?.map(column),
    constraint: node.constraint && identifierNode(nameOf(node.constraint)),
    indexExpression: node.indexExpression && scope.grammar.expression(node.indexExpression, scope),
    indexWhere: node.indexWhere && whereNode(whereCondition(node.indexWhere, scope)),
    updates: node.updates && updates(node.updates, target, scope),
    updateWhere: condition && whereNode(condition),
    doNothing: node.doNothing === true
  })
}
