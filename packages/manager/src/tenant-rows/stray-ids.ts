import { quoteName, type SqlClient } from '@fastify-tenancy/postgres/client'

import type { RowPlacement } from '../placement/tenant-placement.ts'
import { pairs, type SourceSequence } from './carry.ts'
import { isAhead, nextOf, type FilledColumn, type PlacementSequence } from './sequences.ts'
import { fromOf, rowsOf, type TransferTable } from './tables.ts'

/** The furthest value of a tenant's rows in a column that a sequence fills, in the sequence's direction. */
export interface FurthestId extends FilledColumn {
  readonly value: string
}

const whole = new Set(['smallint', 'integer', 'bigint'])

export async function readFurthestIds (
  client: SqlClient,
  placement: RowPlacement,
  tables: readonly TransferTable[],
  sequences: readonly Pick<PlacementSequence, 'fills' | 'step'>[]
): Promise<FurthestId[]> {
  const found: FurthestId[] = []
  for (const { fills, step } of sequences) {
    for (const { table: name, column } of fills) {
      const table = tables.find(table => table.name === name)
      if (table === undefined || !whole.has(table.columns.find(({ name }) => name === column)?.type ?? ''))
        continue
      const { rows: [row] } = await client.query<{ value: string | null }>(
        `select ${BigInt(step) > 0n ? 'max' : 'min'}(t.${quoteName(column)})::text as value from ${
          fromOf(placement, table)
        } t where ${rowsOf(placement, tables, table)}`
      )
      if (row?.value != null) found.push({ table: name, column, value: row.value })
    }
  }
  return found
}

/**
 * Why ids of a tenant's rows would meet those of other tenants later, in a sentence: their key in the shared table lacks the tenant column, and they
 * are ahead of where the shared sequence will be, which then gives the same number to another tenant. An id never takes the sequence along.
 */
export function strayProblem (
  ids: readonly FurthestId[],
  from: readonly SourceSequence[],
  { placement, tables, sequences }: {
    readonly placement: RowPlacement
    readonly tables: readonly TransferTable[]
    readonly sequences: readonly PlacementSequence[]
  }
): string | undefined {
  if (!placement.isShared) return undefined
  for (const { table: name, column, value } of ids) {
    const table = tables.find(table => table.name === name)
    const key = table?.keys.find(({ columns }) =>
      columns.includes(column) &&
      (table.tenantColumn === undefined || !columns.includes(table.tenantColumn.name))
    )
    const target = sequences.find(({ fills }) =>
      fills.some(other => other.table === name && other.column === column)
    )
    if (key === undefined || target === undefined) continue
    const { step } = target
    const next = [nextOf(target, step), ...pairs(from, [target]).map(({ source }) => nextOf(source, step))]
      .reduce((a, b) => isAhead(b, a, step) ? b : a)
    if (isAhead(next, BigInt(value), step)) continue
    return `column '${column}' of table '${name}' has the id ${value}, ahead of sequence '${target.name}', whose next number will be ${next}: key '${key.name}' does not have the tenant column, so that another tenant would be refused when the sequence gets there. Give the row another id, or make the key lead with the tenant column`
  }
  return undefined
}
