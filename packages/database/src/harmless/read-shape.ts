import type { AliasNode, OperationNode, ReferenceNode, SelectionNode } from 'kysely'

import { columnName, columnIdentifier } from './read-expression.ts'
import { systemColumns, type Item, type Shape } from './reading.ts'

/**
 * Returns the columns of the list of a SELECT or a RETURNING, as far as their names are certain.
 */
export function shapeOf (nodes: readonly SelectionNode[] | undefined, items: readonly Item[]): Shape {
  const columns = new Set<string>()
  let isComplete = true
  const take = (from: readonly Item[]): void => {
    if (from.length === 0) isComplete = false
    for (const item of from) {
      for (const column of item.columns) if (!systemColumns.has(column)) columns.add(column)
      if (!item.isComplete || item.possible !== undefined) isComplete = false
    }
  }
  for (const { selection } of nodes ?? []) {
    if (selection.kind === 'SelectAllNode') take(items)
    else if (selection.kind === 'AliasNode') columns.add(columnIdentifier((selection as AliasNode).alias))
    else if (selection.kind === 'ReferenceNode') {
      const { column, table } = selection as ReferenceNode
      if (column.kind === 'SelectAllNode')
        take(
          table === undefined
            ? items
            : items.filter(({ name }) => name === columnIdentifier(table.table.identifier))
        )
      else columns.add(columnName(column))
    } else if ((selection as OperationNode).kind === 'ColumnNode') columns.add(columnName(selection))
    else isComplete = false
  }
  return { columns, isComplete }
}
