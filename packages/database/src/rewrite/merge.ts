import { MatchedNode, RawNode, type AndNode, type InsertQueryNode, type MergeQueryNode, type OperationNode,
  type UpdateQueryNode, type WhenNode } from 'kysely'

import { onCondition, fromSource } from './from.ts'
import { mergeInsert } from './insert.ts'
import { make, only, properties } from './checks.ts'
import { andNode, joinNode } from './nodes.ts'
import { conjunction, predicate } from './predicate.ts'
import { rawText } from './raw.ts'
import { refuse, refuseKind } from './refuse.ts'
import type { Scope } from './scope.ts'
import { returning } from './selection.ts'
import { target, updates, type WriteTarget } from './targets.ts'
import { names } from './with.ts'

const allowedProperties = properties('into', 'using', 'whens', 'with', 'returning')
const whenProperties = properties('condition', 'result')
const matchedProperties = properties('not', 'bySource')
const conditionProperties = properties('left', 'right')
const updateProperties = properties('updates')

/**
 * Rewrites `MERGE`. The predicate comes first in ON, so that only the tenant's rows match. It is
 * repeated in each `when not matched by source`, which otherwise applies to every row that ON
 * excludes.
 */
export function merge (node: MergeQueryNode, outer: Scope): MergeQueryNode {
  only(node, allowedProperties)
  const [withNode, scope] = names(node.with, outer)
  const targetTable = target(node.into, scope)
  const own = targetTable.table === undefined ? [] : [predicate(targetTable.table, targetTable.name, scope)]
  if (node.using?.on === undefined)
    return refuse(
      'a MERGE without using()',
      'there is nothing to merge',
      'give the source and its condition with using()'
    )
  const condition = conjunction(own, onCondition(node.using.on, scope))
  return make<MergeQueryNode>({
    kind: 'MergeQueryNode',
    with: withNode,
    into: targetTable.node as MergeQueryNode['into'],
    using: joinNode('Using', fromSource(node.using, scope), condition),
    whens: node.whens?.map(one => when(one, targetTable, own, scope)),
    returning: returning(node.returning, scope),
    top: undefined,
    output: undefined,
    endModifiers: undefined
  })
}

function when (
  node: WhenNode,
  targetTable: WriteTarget,
  predicates: readonly OperationNode[],
  scope: Scope
): WhenNode {
  only(node, whenProperties)
  const [matched, extra] = splitCondition(node.condition)
  const condition = extra && scope.grammar.expression(extra, scope)
  const all = conjunction(matched.bySource ? predicates : [], condition)
  return make<WhenNode>({
    kind: 'WhenNode',
    condition: all === undefined ? matched : andNode(matched, all),
    result: node.result && result(node.result, targetTable, scope)
  })
}

// Splits `matched`, or `matched` and a condition.
function splitCondition (node: OperationNode): readonly [MatchedNode, OperationNode | undefined] {
  if (node.kind !== 'AndNode') return [matchedNode(node), undefined]
  only(node, conditionProperties)
  const { left, right } = node as AndNode
  return [matchedNode(left), right]
}

function matchedNode (node: OperationNode): MatchedNode {
  if (node.kind !== 'MatchedNode') return refuseKind(node.kind, 'a condition of WHEN')
  only(node, matchedProperties)
  const { not, bySource } = node as MatchedNode
  return MatchedNode.create(Boolean(not), Boolean(bySource))
}

function result (node: OperationNode, targetTable: WriteTarget, scope: Scope): OperationNode {
  if (node.kind === 'UpdateQueryNode') {
    only(node, updateProperties)
    const list = (node as UpdateQueryNode).updates ?? []
    return { kind: 'UpdateQueryNode', updates: updates(list, targetTable, scope) } as UpdateQueryNode
  }
  if (node.kind === 'InsertQueryNode') return mergeInsert(node as InsertQueryNode, targetTable.table, scope)
  const text = rawText(node)
  if (text === 'delete' || text === 'do nothing') return RawNode.createWithSql(text)
  return refuse(
    'raw SQL as what WHEN does',
    'it can hold any SQL',
    'use thenUpdate(), thenUpdateSet(), thenInsertValues(), thenDelete() or thenDoNothing()'
  )
}
