import type { AliasNode, AndNode, BinaryOperationNode, ColumnNode, FromNode, IdentifierNode, JoinNode,
  JoinType, OnNode, OperationNode, Operator, OperatorNode, OrNode, ParensNode, ReferenceNode, SelectionNode,
  TableNode, ValueNode, WhereNode } from 'kysely'

/*
 * The nodes of almost every query, like Kysely's own create() but not frozen. Only the rewriter
 * holds them, and freezing costs more than all other work on a node.
 */

export const identifierNode = (name: string): IdentifierNode => ({ kind: 'IdentifierNode', name })
export const columnNode = (name: string): ColumnNode => ({ kind: 'ColumnNode', column: identifierNode(name) })
export const parensNode = (node: OperationNode): ParensNode => ({ kind: 'ParensNode', node })
export const andNode = (left: OperationNode, right: OperationNode): AndNode => ({
  kind: 'AndNode',
  left,
  right
})
export const orNode = (left: OperationNode, right: OperationNode): OrNode => ({ kind: 'OrNode', left, right })
export const aliasNode = (node: OperationNode, alias: IdentifierNode): AliasNode => ({
  kind: 'AliasNode',
  node,
  alias
})
export const operatorNode = (operator: Operator): OperatorNode => ({ kind: 'OperatorNode', operator })
export const selectionNode = (selection: OperationNode): SelectionNode => ({
  kind: 'SelectionNode',
  selection: selection as SelectionNode['selection']
})
export const whereNode = (where: OperationNode): WhereNode => ({ kind: 'WhereNode', where })
export const fromNode = (froms: readonly OperationNode[]): FromNode => ({ kind: 'FromNode', froms })
const onNode = (on: OperationNode): OnNode => ({ kind: 'OnNode', on })

export function tableNode (name: string, schema?: string): TableNode {
  return {
    kind: 'TableNode',
    table: {
      kind: 'SchemableIdentifierNode',
      ...(schema !== undefined && { schema: identifierNode(schema) }),
      identifier: identifierNode(name)
    }
  }
}

export function referenceNode (column: ReferenceNode['column'], table?: TableNode): ReferenceNode {
  return table === undefined ? { kind: 'ReferenceNode', column } : { kind: 'ReferenceNode', column, table }
}

export function binaryNode (
  leftOperand: OperationNode,
  operator: OperationNode,
  rightOperand: OperationNode
): BinaryOperationNode {
  return { kind: 'BinaryOperationNode', leftOperand, operator, rightOperand }
}

export function joinNode (joinType: JoinType, table: OperationNode, on: OperationNode | undefined): JoinNode {
  return on === undefined
    ? { kind: 'JoinNode', joinType, table }
    : { kind: 'JoinNode', joinType, table, on: onNode(on) }
}

export function valueNode (value: unknown, immediate: boolean): ValueNode {
  return immediate ? { kind: 'ValueNode', value, immediate } : { kind: 'ValueNode', value }
}
