import { ColumnUpdateNode, type AliasNode, type OperationNode, type ReferenceNode, type TableNode,
  type ValueNode } from 'kysely'

import { identifier, nameOf, only, properties } from './checks.ts'
import { aliasNode, identifierNode } from './nodes.ts'
import { refuse, refuseKind } from './refuse.ts'
import { resolveTarget, type Scope } from './scope.ts'
import type { RewrittenTable } from './tables.ts'
import { isOwnId } from './tenant-value.ts'

/** The table that a statement writes to. */
export interface WriteTarget {
  readonly node: OperationNode
  readonly table: RewrittenTable | undefined
  /** The table's name in the statement. */
  readonly name: string
}

const aliasProperties = properties('node', 'alias')

/**
 * Returns the table of an UPDATE, DELETE, INSERT or MERGE: a tenant table, never a reference table.
 */
export function target (input: OperationNode | undefined, scope: Scope): WriteTarget {
  const alias = input?.kind === 'AliasNode' ? input as AliasNode : undefined
  if (alias !== undefined) only(alias, aliasProperties)
  const table = alias?.node ?? input
  if (table === undefined || table.kind !== 'TableNode')
    return refuseKind(table?.kind ?? 'missing table', 'the table to write to')
  const resolved = resolveTarget(table as TableNode, scope)
  if (resolved.kind === 'shared')
    return refuse(
      `a statement that writes to the shared table '${nameOf(resolved.node.table.identifier)}'`,
      'all tenants read it',
      'write to it as the system'
    )
  const name = alias === undefined
    ? nameOf(resolved.node.table.identifier)
    : identifier(alias.alias, 'the name of a table').name
  return {
    node: alias === undefined ? resolved.node : aliasNode(resolved.node, identifierNode(name)),
    table: resolved.kind === 'tenant' ? resolved.table : undefined,
    name
  }
}

const updateProperties = properties('column', 'value')

/** Rewrites the SET list of an UPDATE, which must not move a row to another tenant. */
export function updates (
  nodes: readonly ColumnUpdateNode[],
  { table }: WriteTarget,
  scope: Scope
): ColumnUpdateNode[] {
  return nodes.map(node => {
    only(node, updateProperties)
    const column = updatedColumn(node.column)
    if (
      column === table?.column &&
      !(node.value.kind === 'ValueNode' && isOwnId((node.value as ValueNode).value, scope.tenant))
    ) {
      return refuse(
        `an update of the tenant column '${column}'`,
        'a row does not change its tenant',
        'leave the column out'
      )
    }
    return ColumnUpdateNode.create(
      scope.grammar.expression(node.column, scope),
      scope.grammar.expression(node.value, scope)
    )
  })
}

function updatedColumn (node: OperationNode): string {
  const column = node.kind === 'ReferenceNode' && (node as ReferenceNode).table === undefined
    ? (node as ReferenceNode).column
    : node
  if (column.kind !== 'ColumnNode')
    return refuse(
      'this column of an update',
      'which column it is cannot be seen',
      "give the column's name alone, as text"
    )
  return nameOf((column as ReferenceNode['column'] & { kind: 'ColumnNode' }).column)
}
