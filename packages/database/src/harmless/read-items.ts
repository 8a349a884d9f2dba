import type { AliasNode, FunctionNode, JoinNode, OnNode, OperationNode, TableNode } from 'kysely'

import { only, properties } from '../rewrite/checks.ts'
import { onTrue } from '../rewrite/raw.ts'
import type { Use } from './facts.ts'
import { columnsOfFunction, harmlessFunctions } from './names.ts'
import { columnIdentifier, readCall, readExpression } from './read-expression.ts'
import { systemColumns, unreadable, type Item, type ReadingScope, type Shape } from './reading.ts'

const joinProperties = properties('joinType', 'table', 'on')
const onProperties = properties('on')
const aliasProperties = properties('node', 'alias')
const tableProperties = properties('table')
const nameProperties = properties('schema', 'identifier')
const joinTypes: ReadonlySet<unknown> = new Set(['InnerJoin', 'LeftJoin', 'RightJoin', 'FullJoin',
  'CrossJoin', 'LateralInnerJoin', 'LateralLeftJoin', 'LateralCrossJoin', 'Using'])

/**
 * Records the names that the items of FROM or USING and their joins use. Returns these items,
 * preceded by `input`.
 *
 * @param scope the scope around the statement, with its names of WITH
 */
export function readItems (
  nodes: readonly OperationNode[],
  joins: readonly JoinNode[] | undefined,
  scope: ReadingScope,
  input: readonly Item[]
): Item[] {
  const items = [...input]
  for (const node of nodes) items.push(readItem(node, scope, items, false))
  for (const join of joins ?? []) {
    only(join, joinProperties)
    if (!joinTypes.has(join.joinType)) unreadable('a join')
    items.push(readItem(join.table, scope, items, join.joinType.startsWith('Lateral')))
    readOn(join.on, { ...scope, items: [...items], isPartial: true })
  }
  return items
}

/** Returns the item of the table that a statement writes to. */
export function readTarget (node: OperationNode | undefined, use: Use, scope: ReadingScope): Item {
  if (node?.kind === 'AliasNode') only(node, aliasProperties)
  const { node: inner, alias } = node?.kind === 'AliasNode' ? node as AliasNode : { node, alias: undefined }
  if (inner?.kind !== 'TableNode') return unreadable('a target')
  return tableItem(inner as TableNode, alias && columnIdentifier(alias), use, scope)
}

function readOn (node: OnNode | undefined, scope: ReadingScope): void {
  if (node === undefined) return
  only(node, onProperties)
  if (onTrue(node.on) === undefined) readExpression(node.on, scope)
}

function readItem (
  node: OperationNode,
  scope: ReadingScope,
  items: readonly Item[],
  isLateral: boolean
): Item {
  if (node.kind === 'TableNode') return sourceItem(node as TableNode, undefined, scope)
  if (node.kind !== 'AliasNode') return unreadable(node.kind)
  only(node, aliasProperties)
  const { node: inner, alias } = node as AliasNode
  const name = columnIdentifier(alias)
  // A function sees the items before it, as a sub-query after LATERAL does.
  const inside: ReadingScope = { ...scope, items: [...items], isPartial: true }
  switch (inner.kind) {
    case 'TableNode':
      return sourceItem(inner as TableNode, name, scope)
    case 'SelectQueryNode':
    case 'ParensNode':
      return { name, ...scope.grammar.subquery(inner, isLateral ? inside : scope) }
    case 'FunctionNode':
      return readCall(inner as FunctionNode, inside),
        { name, ...shapeOfCall(inner as FunctionNode, name, scope) }
    default:
      return unreadable(inner.kind)
  }
}

// An unqualified name means a name of WITH before it means a table.
function sourceItem (node: TableNode, alias: string | undefined, scope: ReadingScope): Item {
  const shape = node.table.schema === undefined
    ? scope.names.get(columnIdentifier(node.table.identifier))
    : undefined
  return shape === undefined
    ? tableItem(node, alias, 'read', scope)
    : { ...shape, name: alias ?? columnIdentifier(node.table.identifier) }
}

function tableItem (
  node: TableNode,
  alias: string | undefined,
  use: Use,
  { columns, reading }: ReadingScope
): Item {
  only(node, tableProperties)
  only(node.table, nameProperties)
  const table = columnIdentifier(node.table.identifier)
  const schema = node.table.schema === undefined ? columns.schema : columnIdentifier(node.table.schema)
  reading.uses.push({ schema, table, use, isQualified: node.table.schema !== undefined })
  const known = columns.of(schema, table)
  return {
    name: alias ?? table,
    columns: known === undefined ? new Set() : new Set([...known, ...systemColumns]),
    isComplete: known !== undefined
  }
}

function shapeOfCall ({ func }: FunctionNode, alias: string, { columns }: ReadingScope): Shape {
  const name = func.toLowerCase()
  if (name === 'unnest')
    return {
      columns: new Set(),
      possible: new Set([alias, 'lexeme', 'positions', 'weights']),
      isComplete: true
    }
  if (harmlessFunctions.has(name))
    return { columns: new Set(columnsOfFunction.get(name) ?? [alias]), isComplete: true }
  const results = columns.results(name).map(one => one ?? [alias])
  const all = [...new Set(results.flat())]
  return {
    // The arguments decide which of several functions of one name is called, so only common columns
    // are certain.
    columns: new Set(all.filter(column => results.every(one => one.includes(column)))),
    possible: new Set([alias, ...all]),
    isComplete: results.length > 0
  }
}
