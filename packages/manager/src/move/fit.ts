import type { TenantTable } from '../transfer/tables.ts'
import { keyOf } from './stage.ts'

/** Why changes of a served tenant could not be brought over, in a sentence; undefined where they can. */
export function followProblem (from: readonly TenantTable[], to: readonly TenantTable[]): string | undefined {
  for (const table of to.filter(({ isActedOn }) => isActedOn)) {
    const source = from.find(({ name }) => name === table.name)
    if (source === undefined || keyOf(source).length === 0) continue
    // A row of it is updated in its place, and found by the target's key.
    if (source.order.toSorted().join() !== table.order.toSorted().join()) {
      return `the primary key of table '${table.name}' is (${table.order.join(', ')}) there, and (${source.order.join(', ')}) here, and rows that refer to it have 'on delete': make the keys alike`
    }
  }
  return undefined
}
