import { inTransaction, type SqlClient } from '@fastify-tenancy/postgres/client'

import { withClient } from '../context/shard-pools.ts'
import type { RowPlacement } from '../placement/tenant-placement.ts'
import { isAhead, nextOf, raiseShared, setOwn, type FilledColumn, type PlacementSequence,
  type Position } from './sequences.ts'

/** A sequence of the home that rows come from, as far as the one that they go to has to know it. */
export interface SourceSequence extends Position {
  readonly name: string
  readonly fills: readonly FilledColumn[]
  readonly step: string
  /** Of a sequence in the same database. */
  readonly oid?: string
  /** Whether rows or functions need it at the new home. */
  readonly isNeeded: boolean
}

/** What a sequence of the new home becomes. */
export interface Carried {
  readonly target: PlacementSequence
  readonly source: SourceSequence
  /** The position that it is taken on to; undefined where it is further already. */
  readonly position: Position | undefined
}

/** The pairs of sequences of two homes: by a column that both fill, else by name where one of them fills none. */
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

/** Why the sequences of one home cannot be carried over to another, in a sentence; undefined where they can. */
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
      return `sequence '${source.name}' fills column '${missing.column}' of table '${missing.table}', and no sequence fills it there: give the column its default there`
    if (source.isNeeded && found.length === 0)
      return `sequence '${source.name}' is in use, and there is none of this name there: create it there`
    for (const { target } of found) {
      if (BigInt(source.step) > 0n !== BigInt(target.step) > 0n)
        return `sequence '${source.name}' counts in the other direction than '${target.name}' there: make the two alike`
      const last = BigInt(source.last)
      if (last < BigInt(target.min) || last > BigInt(target.max))
        return `sequence '${source.name}' is at ${source.last}, beyond the bounds of '${target.name}' there: make the two alike`
      const next = nextOf(source, target.step)
      // Nobody could insert any more.
      if (isShared && !target.isCycling && (next < BigInt(target.min) || next > BigInt(target.max)))
        return `sequence '${source.name}' has given all of its numbers, and would use up '${target.name}', from which other tenants draw: make the column and its sequence there larger`
    }
  }
  return undefined
}

/**
 * Takes the sequences of a new home on to where those of the old one are. A shared one is never taken beyond that, whatever ids the rows have.
 *
 * @param isHere whether both homes are in one database, where a sequence can be the same one
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

/** What a new home has to know of the sequences of an old one. In tables that are shared, those of other tables are nothing of the tenant's. */
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
