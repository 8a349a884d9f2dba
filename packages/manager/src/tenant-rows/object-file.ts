import { quoteName, type SqlClient } from '@fastify-tenancy/postgres/client'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import * as v from 'valibot'

import type { RowPlacement } from '../placement/tenant-placement.ts'
import type { SourceSequence } from './carry.ts'
import { ImportRefusedError } from './errors.ts'
import { isAhead, nextOf, type PlacementSequence, type Position } from './sequences.ts'
import { fromOf, rowsOf, type TransferTable } from './tables.ts'
import type { UserTrigger } from './triggers.ts'

/** The file of an export with the positions of its sequences and the triggers of its tables. */
export const objectFile = 'objects.json'

/** Sequences and triggers of an export. */
export interface ExportObjects {
  readonly sequences: readonly SourceSequence[]
  /** Insert triggers, which ran for the exported rows. */
  readonly triggers: readonly UserTrigger[]
}

const digits = v.pipe(v.string(), v.regex(/^-?\d{1,19}$/))
const text = v.pipe(v.string(), v.minLength(1))
const sequence = v.strictObject({
  name: text,
  fills: v.array(v.strictObject({ table: text, column: text })),
  step: digits,
  last: digits,
  isCalled: v.boolean(),
  isNeeded: v.boolean()
})
const schema = v.strictObject({
  sequences: v.array(sequence),
  triggers: v.array(v.strictObject({ table: text, name: text }))
})

/**
 * Returns the sequences of an export. If other tenants use a sequence, its position is the tenant's
 * own highest id, because the real position would reveal other tenants' activity.
 */
export async function exportedSequences (
  client: SqlClient,
  placement: RowPlacement,
  tables: readonly TransferTable[],
  sequences: readonly PlacementSequence[]
): Promise<SourceSequence[]> {
  const told: SourceSequence[] = []
  for (const sequence of sequences) {
    const { name, fills, step, isUsed, isCalled } = sequence
    const isOwn = !placement.isShared && sequence.schema === placement.schema
    if (!isUsed && !(isOwn && isCalled)) continue
    const position = isOwn ? sequence : await ownPosition(client, placement, tables, sequence)
    if (position !== undefined)
      told.push({
        name,
        fills,
        step,
        last: position.last,
        isCalled: position.isCalled,
        isNeeded: isUsed || isOwn
      })
  }
  return told
}

// Returns the furthest id up to the sequence's position. A greater id was inserted explicitly and
// does not advance the sequence.
async function ownPosition (
  client: SqlClient,
  placement: RowPlacement,
  tables: readonly TransferTable[],
  sequence: PlacementSequence
): Promise<Position | undefined> {
  const limit = sequence.isCalled ? BigInt(sequence.last) : BigInt(sequence.last) - BigInt(sequence.step)
  let furthest: bigint | undefined
  for (const { table: name, column } of sequence.fills) {
    const table = tables.find(table => table.name === name)
    if (table === undefined) continue
    const isUp = BigInt(sequence.step) > 0n
    const number = numberIn(table, column, isUp)
    const { rows: [row] } = await client.query<{ id: string | null }>(`
      select pg_catalog.${isUp ? 'max' : 'min'}(${number})::text as id from ${fromOf(placement, table)} t
      where ${rowsOf(placement, tables, table)} and ${number} ${isUp ? '<=' : '>='} ${limit}`)
    if (row?.id === null || row === undefined) continue
    const id = BigInt(row.id)
    if (furthest === undefined || isAhead(id, furthest, sequence.step)) furthest = id
  }
  return furthest === undefined ? undefined : { last: String(furthest), isCalled: true }
}

// A default can embed a number in a text: 'INV-1003' contains 1003.
function numberIn ({ columns }: TransferTable, column: string, isUp: boolean): string {
  const name = `t.${quoteName(column)}`
  const isNumber = ['smallint', 'integer', 'bigint'].includes(
    columns.find(({ name }) => name === column)?.type ?? ''
  )
  return isNumber
    ? `${name}::numeric`
    : `substring(${name}::text from '(${isUp ? '' : '-?'}[0-9]+)[^0-9]*$')::numeric`
}

/**
 * Returns the objects of an export; undefined for an export of an earlier version, which has no
 * such file.
 *
 * @throws FST_TENANCY_IMPORT_REFUSED
 */
export async function readObjectFile (folder: string): Promise<ExportObjects | undefined> {
  const found = await readFile(join(folder, objectFile), 'utf8').catch((cause: unknown) => {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return undefined
    throw new ImportRefusedError(`${objectFile} of the export cannot be read`, { cause })
  })
  if (found === undefined) return undefined
  try {
    return v.parse(schema, JSON.parse(found))
  } catch (cause) {
    throw new ImportRefusedError(`${objectFile} is malformed: export again`, { cause })
  }
}

/**
 * Returns the positions that the rows imply, for an export without positions. From there on, a
 * sequence does not return existing ids.
 */
export async function rowPositions (
  client: SqlClient,
  placement: RowPlacement,
  tables: readonly TransferTable[],
  sequences: readonly PlacementSequence[]
): Promise<SourceSequence[]> {
  const found: SourceSequence[] = []
  for (const { name, fills, step, max, min } of sequences) {
    const limit = BigInt(step) > 0n ? max : min
    const position = await ownPosition(
      client,
      placement,
      tables,
      { name, fills, step, last: limit, isCalled: true } as PlacementSequence
    )
    if (position !== undefined) found.push({ name, fills, step, ...position, isNeeded: false })
  }
  return found
}

/**
 * Returns why a sequence would return ids of imported rows again, or undefined. In tenant tables,
 * only the export's own positions may advance a sequence.
 */
export function aheadProblem (
  rows: readonly SourceSequence[],
  sequences: readonly PlacementSequence[]
): string | undefined {
  for (const { name, fills, last, step } of rows) {
    const sequence = sequences.find(other => other.name === name)
    if (sequence === undefined || isAhead(nextOf(sequence, step), BigInt(last), step)) continue
    return `ids of table '${
      fills[0]?.table
    }' are beyond sequence '${name}', which other tenants use, and this export has no position of ` +
      'its own sequence: export again'
  }
  return undefined
}
