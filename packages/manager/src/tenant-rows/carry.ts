import { inTransaction, type SqlClient } from '@fastify-tenancy/postgres/client'

import { withClient } from '../context/shard-pools.ts'
import type { RowPlacement } from '../placement/tenant-placement.ts'
import { isAhead, nextOf, raiseShared, setOwn, type FilledColumn, type PlacementSequence,
  type Position } from './sequences.ts'

/** The facts about a source's sequence that the target needs. */
export interface SourceSequence extends Position {
  readonly name: string
  readonly fills: readonly FilledColumn[]
  readonly step: string
  /** Set if the sequence is in the same database. */
  readonly oid?: string
  /** Whether rows or functions need the sequence in the target. */
  readonly isNeeded: boolean
}

/** The new state of a target's sequence. */
interface Carried {
  readonly target: PlacementSequence
  readonly source: SourceSequence
  /** The position to set; undefined if the sequence is already further. */
  readonly position: Position | undefined
}

/**
 * Returns the pairs of matching sequences in source and target. Two match if they fill the same
 * column, or have the same name and at least one of them fills none.
 */
export function pairs (from: readonly SourceSequence[], to: readonly PlacementSequence[]): Carried[] {
  return to.flatMap(target => {
    const bySameColumn = from.filter(({ fills }) => fills.some(column => isIn(target.fills, column)))
    const found = bySameColumn.length > 0
      ? bySameColumn
      : from.filter(({ name, fills }) =>
        name === target.name && (fills.length === 0 || target.fills.length === 0)
      )
    return found.map(source => ({ target, source, position: positionOf(source, target) }))
  })
}

/**
 * Returns why the source's sequences cannot be carried over to the target, or undefined if they
 * can.
 */
export function sequenceProblem (
  from: readonly SourceSequence[],
  to: readonly PlacementSequence[],
  isShared: boolean
): string | undefined {
  const all = pairs(from, to)
  for (const source of from) {
    const found = all.filter(pair => pair.source === source)
    const missing = source.fills.find(column => !to.some(({ fills }) => isIn(fills, column)))
    if (source.isNeeded && missing !== undefined)
      return `sequence '${source.name}' fills column '${missing.column}' of table '${missing.table}', but ` +
        'no sequence fills it in the target: add the default to the column in the target'
    if (source.isNeeded && found.length === 0)
      return `sequence '${source.name}' is in use, but the target has none of this name: ` +
        'create it in the target'
    for (const { target } of found) {
      if (BigInt(source.step) > 0n !== BigInt(target.step) > 0n)
        return `sequence '${source.name}' counts in the opposite direction of '${target.name}' in the ` +
          'target: give both the same sign of increment'
      const last = BigInt(source.last)
      if (last < BigInt(target.min) || last > BigInt(target.max))
        return `sequence '${source.name}' is at ${source.last}, beyond the bounds of '${target.name}' in ` +
          'the target: give both the same bounds'
      const next = nextOf(source, target.step)
      // The next insert of any tenant would fail.
      if (isShared && !target.isCycling && (next < BigInt(target.min) || next > BigInt(target.max)))
        return `sequence '${source.name}' is exhausted, and would exhaust '${target.name}', which other ` +
          'tenants use: make the column and its sequence in the target larger'
    }
  }
  return undefined
}

/**
 * Advances the target's sequences to the positions of the source's. A sequence of tenant tables
 * never goes beyond them, whatever ids the rows have.
 *
 * @param isHere whether source and target are in one database, where a sequence can be the same
 *   object
 */
export async function carrySequences (
  placement: RowPlacement,
  from: readonly SourceSequence[],
  to: readonly PlacementSequence[],
  isHere: boolean
): Promise<void> {
  await withClient(placement.pool, async client => {
    for (const target of to) {
      const found = pairs(from, [target]).filter(({ source }) => !isHere || source.oid !== target.oid)
      if (found.length === 0) continue
      const position = furthest(target, found.map(pair => pair.position))
      await carryOne(client, placement, target, position)
    }
  })
}

async function carryOne (
  client: SqlClient,
  placement: RowPlacement,
  target: PlacementSequence,
  position: Position | undefined
): Promise<void> {
  const isOwn = !placement.isShared && target.schema === placement.schema
  if (isOwn && position !== undefined) await setOwn(client, target, position)
  if (isOwn || (position === undefined && target.cache === 1) || target.isCycling) return
  await inTransaction(client, () => raiseShared(client, target, position))
}

function furthest (
  { step }: PlacementSequence,
  positions: readonly (Position | undefined)[]
): Position | undefined {
  return positions.reduce(
    (best, position) =>
      best === undefined ||
        (position !== undefined && isAhead(nextOf(position, step), nextOf(best, step), step))
        ? position
        : best,
    undefined
  )
}

function positionOf (
  source: SourceSequence,
  { step, last, isCalled }: PlacementSequence
): Position | undefined {
  const position = { last: source.last, isCalled: source.isCalled }
  return isAhead(nextOf(position, step), nextOf({ last, isCalled }, step), step) ? position : undefined
}

function isIn (columns: readonly FilledColumn[], { table, column }: FilledColumn): boolean {
  return columns.some(other => other.table === table && other.column === column)
}

/**
 * Returns the facts about the source's sequences. In tenant tables, a sequence that no listed table
 * uses is not needed.
 */
export function sourceSequences (
  placement: RowPlacement,
  sequences: readonly PlacementSequence[]
): SourceSequence[] {
  return sequences.map(({ name, fills, step, oid, last, isCalled, isUsed }) => ({
    name,
    fills,
    step,
    oid,
    last,
    isCalled,
    isNeeded: isUsed || (!placement.isShared && isCalled)
  }))
}
