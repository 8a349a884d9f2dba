import type { CommonTableExpressionNode, OperationNode, ParensNode, SelectQueryNode, WithNode } from 'kysely'

import { only, properties } from '../rewrite/checks.ts'
import { columnName, columnIdentifier } from './read-expression.ts'
import { readItems } from './read-items.ts'
import { shapeOf } from './read-shape.ts'
import { Reading, unreadable, type ReadingScope, type Shape } from './reading.ts'

const withProperties = properties('expressions', 'recursive')
const known = properties('name', 'materialized', 'expression')
const nameProperties = properties('table', 'columns')

/**
 * Records the names that the bodies of a WITH use. Returns the scope in which the names of WITH are
 * visible, without items.
 */
export function readNames (node: WithNode | undefined, outer: ReadingScope): ReadingScope {
  const scope: ReadingScope = { ...outer, items: [], outer, isPartial: false }
  if (node === undefined) return scope
  only(node, withProperties)
  const names = new Map(outer.names)
  const inBody = (): ReadingScope => ({ ...scope, names: new Map(names) })
  // Under RECURSIVE every body sees all names, its own included. Its columns are those of its first
  // branch.
  if (node.recursive === true) {
    for (const one of node.expressions) names.set(nameOf(one), { columns: new Set(), isComplete: false })
  }
  if (node.recursive === true) {
    for (const one of node.expressions)
      names.set(nameOf(one), named(one, firstBranch(one.expression, inBody())))
  }
  for (const one of node.expressions) {
    const shape = scope.grammar.statement(one.expression, inBody())
    names.set(nameOf(one), named(one, shape))
  }
  return { ...scope, names }
}

function nameOf (node: CommonTableExpressionNode): string {
  only(node, known)
  only(node.name, nameProperties)
  const { schema, identifier: name } = node.name.table.table
  if (schema !== undefined) unreadable('a schema of a name of WITH')
  if (node.materialized !== undefined && typeof node.materialized !== 'boolean') unreadable('materialized')
  return columnIdentifier(name)
}

// A column list renames the first columns. The later ones keep their names, which may be any.
function named ({ name: { columns } }: CommonTableExpressionNode, shape: Shape): Shape {
  return columns === undefined ? shape : { columns: new Set(columns.map(columnName)), isComplete: false }
}

// Uses a separate Reading, because the branch is read again once its name is known.
function firstBranch (node: OperationNode, scope: ReadingScope): Shape {
  if (node.kind === 'ParensNode') return firstBranch((node as ParensNode).node, scope)
  if (node.kind !== 'SelectQueryNode') return { columns: new Set(), isComplete: false }
  const { from, joins, selections } = node as SelectQueryNode
  return shapeOf(selections, readItems(from?.froms ?? [], joins, { ...scope, reading: new Reading() }, []))
}
