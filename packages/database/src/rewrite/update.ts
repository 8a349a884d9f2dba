import type { UpdateQueryNode } from 'kysely'

import { fromRelations } from './from.ts'
import { make, only, properties } from './checks.ts'
import { fromNode, whereNode } from './nodes.ts'
import { conjunction, predicate } from './predicate.ts'
import { refuse } from './refuse.ts'
import type { Scope } from './scope.ts'
import { whereCondition } from './select.ts'
import { returning } from './selection.ts'
import { target, updates } from './targets.ts'
import { names } from './with.ts'

const allowedProperties = properties('table', 'from', 'joins', 'where', 'updates', 'returning', 'with')
const fromProperties = properties('froms')

/**
 * Rewrites `UPDATE … SET … FROM`. The target's predicate comes first, then those of the tables that
 * it reads.
 */
export function update (node: UpdateQueryNode, outer: Scope): UpdateQueryNode {
  if (node.explain !== undefined)
    return refuse(
      'explain()',
      'it is no statement on rows',
      'compile the query and explain it with a login of yours'
    )
  only(node, allowedProperties)
  if (node.from !== undefined) only(node.from, fromProperties)
  else if (node.joins !== undefined)
    return refuse('a join of an UPDATE without FROM', 'PostgreSQL has none', 'use from() first')
  const [withNode, scope] = names(node.with, outer)
  const targetTable = target(node.table, scope)
  const { items, joins, where } = fromRelations(node.from?.froms ?? [], node.joins, scope)
  const own = targetTable.table === undefined ? [] : [predicate(targetTable.table, targetTable.name, scope)]
  const condition = conjunction([...own, ...where], node.where && whereCondition(node.where, scope))
  return make<UpdateQueryNode>({
    kind: 'UpdateQueryNode',
    with: withNode,
    table: targetTable.node,
    updates: updates(node.updates ?? [], targetTable, scope),
    from: items.length === 0 ? undefined : fromNode(items),
    joins: joins.length === 0 ? undefined : joins,
    where: condition && whereNode(condition),
    returning: returning(node.returning, scope),
    ...unknownElsewhere
  })
}

// Refuses properties that only other databases have.
const unknownElsewhere = {
  explain: undefined,
  endModifiers: undefined,
  limit: undefined,
  top: undefined,
  output: undefined,
  orderBy: undefined
}
