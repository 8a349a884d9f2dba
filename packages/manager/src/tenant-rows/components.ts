import type { TransferTable } from './tables.ts'

/**
 * Groups tables so that each follows the tables that it refers to. Tables with circular references
 * form one group.
 *
 * Tarjan, R. (1972), Depth-first search and linear graph algorithms: components come out in reverse
 * topological order.
 */
export function inOrder<T extends Pick<TransferTable, 'name' | 'parents'>> (tables: readonly T[]): T[][] {
  const byName = new Map(tables.map(table => [table.name, table]))
  const groups: T[][] = []
  const visited = new Map<T, number>()
  const stack: T[] = []
  const visit = (table: T): number => {
    const index = visited.size
    visited.set(table, index)
    stack.push(table)
    let lowest = index
    for (const { table: name } of table.parents) {
      const parent = byName.get(name)
      if (parent === undefined) continue
      const seen = visited.get(parent)
      if (seen === undefined) lowest = Math.min(lowest, visit(parent))
      else if (stack.includes(parent)) lowest = Math.min(lowest, seen)
    }
    if (lowest === index) groups.push(stack.splice(stack.indexOf(table)))
    return lowest
  }
  for (const table of tables) if (!visited.has(table)) visit(table)
  return groups
}

/** Whether all rows of a group must be inserted before PostgreSQL checks its foreign keys. */
export function isCircular (group: readonly Pick<TransferTable, 'name' | 'parents'>[]): boolean {
  return group.length > 1 || group.some(({ name, parents }) => parents.some(({ table }) => table === name))
}
