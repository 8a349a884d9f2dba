import { quoteName, type SqlClient } from '@fastify-tenancy/postgres/client'

import type { RowPlacement } from '../placement/tenant-placement.ts'
import { pairs, type SourceSequence } from './carry.ts'
import { isAhead, nextOf, type FilledColumn, type PlacementSequence } from './sequences.ts'
import { fromOf, rowsOf, type TransferTable } from './tables.ts'

/**
 * The furthest id of a tenant's rows in a column that a sequence fills, in the sequence's
 * direction.
 */
interface FurthestId extends FilledColumn {
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
 * Returns why ids of a tenant's rows would conflict with other tenants' later, or undefined. The
 * table's key lacks the tenant column, and the id is ahead of the sequence, which will return the
 * same number to another tenant. Inserting an id does not advance the sequence.
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
    return `column '${column}' of table '${name}' has the id ${value}, ahead of sequence ` +
      `'${target.name}', whose next number will be ${next}. Key '${key.name}' does not have the tenant ` +
      'column, so an insert of another tenant would fail when the sequence reaches this id. ' +
      'Give the row another id, or add the tenant column to the key'
  }
  return undefined
}
