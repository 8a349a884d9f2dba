import { UsingNode, type DeleteQueryNode } from 'kysely'

import { fromRelations } from './from.ts'
import { make, only, properties } from './checks.ts'
import { fromNode, whereNode } from './nodes.ts'
import { conjunction, predicate } from './predicate.ts'
import { refuse } from './refuse.ts'
import type { Scope } from './scope.ts'
import { whereCondition } from './select.ts'
import { returning } from './selection.ts'
import { target } from './targets.ts'
import { names } from './with.ts'

const allowedProperties = properties('from', 'using', 'joins', 'where', 'returning', 'with')
const fromProperties = properties('froms')
const usingProperties = properties('tables')

/**
 * Rewrites `DELETE FROM … USING`. The target's predicate comes first, then those of the tables that
 * it reads.
 */
export function remove (node: DeleteQueryNode, outer: Scope): DeleteQueryNode {
  if (node.explain !== undefined)
    return refuse(
      'explain()',
      'it is no statement on rows',
      'compile the query and explain it with a login of yours'
    )
  only(node, allowedProperties)
  only(node.from, fromProperties)
  if (node.from.froms.length !== 1)
    return refuse(
      'a DELETE from several tables',
      'PostgreSQL has none',
      'delete from one table, and join the others with using()'
    )
  if (node.using !== undefined) only(node.using, usingProperties)
  else if (node.joins !== undefined)
    return refuse('a join of a DELETE without USING', 'PostgreSQL has none', 'use using() first')
  const [withNode, scope] = names(node.with, outer)
  const targetTable = target(node.from.froms[0], scope)
  const { items, joins, where } = fromRelations(node.using?.tables ?? [], node.joins, scope)
  const own = targetTable.table === undefined ? [] : [predicate(targetTable.table, targetTable.name, scope)]
  const condition = conjunction([...own, ...where], node.where && whereCondition(node.where, scope))
  return make<DeleteQueryNode>({
    kind: 'DeleteQueryNode',
    with: withNode,
    from: fromNode([targetTable.node]),
    using: items.length === 0 ? undefined : UsingNode.create(items),
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
