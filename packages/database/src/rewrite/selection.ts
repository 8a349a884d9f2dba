import { ReferenceNode, ReturningNode, SelectAllNode, type AliasNode, type OperationNode, type SelectionNode,
  type TableNode } from 'kysely'

import { identifier, only, properties } from './checks.ts'
import { aliasNode, selectionNode } from './nodes.ts'
import { itemName, type Scope } from './scope.ts'

const allowedProperties = properties('selection')
const aliasProperties = properties('node', 'alias')
const referenceProperties = properties('table', 'column')
const returningProperties = properties('selections')

/** Rewrites the list of a SELECT or a RETURNING. */
export function selections (nodes: readonly SelectionNode[], scope: Scope): SelectionNode[] {
  return nodes.map(node => selection(node, scope))
}

/** Rewrites one item of the list: `*`, `notes.*`, or an expression with or without a name. */
export function selection (node: SelectionNode, scope: Scope): SelectionNode {
  only(node, allowedProperties)
  const inner: OperationNode = node.selection
  if (inner.kind === 'SelectAllNode') return selectionNode(SelectAllNode.create())
  if (inner.kind === 'ReferenceNode' && (inner as ReferenceNode).column.kind === 'SelectAllNode')
    return allOf(inner as ReferenceNode, scope)
  const { expression } = scope.grammar
  if (inner.kind !== 'AliasNode') return selectionNode(expression(inner, scope) as ReferenceNode)
  only(inner, aliasProperties)
  const { node: named, alias } = inner as AliasNode
  return selectionNode(aliasNode(expression(named, scope), identifier(alias, 'the name of a column')))
}

/**
 * Rewrites `RETURNING`. It returns rows of the statement's own tables, and its sub-queries get
 * their predicates.
 */
export function returning (node: ReturningNode | undefined, scope: Scope): ReturningNode | undefined {
  if (node === undefined) return undefined
  only(node, returningProperties)
  return ReturningNode.create(selections(node.selections, scope))
}

function allOf (node: ReferenceNode, scope: Scope): SelectionNode {
  only(node, referenceProperties)
  const table: TableNode | undefined = node.table && itemName(node.table, scope)
  return selectionNode(table === undefined ? SelectAllNode.create() : ReferenceNode.createSelectAll(table))
}
