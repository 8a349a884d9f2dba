import { sqlState } from '@fastify-tenancy/postgres/client'

import type { ManagerContext } from '../context/context.ts'
import type { Move } from '../operations/moves.ts'
import { withPlacement } from '../placement/tenant-placement.ts'
import { carrySequences, sourceSequences } from '../tenant-rows/carry.ts'
import { countTableRows } from '../tenant-rows/fit.ts'
import { retried } from '../tenant-rows/retried.ts'
import { readSequences } from '../tenant-rows/sequences.ts'
import { applyChanges } from './apply.ts'
import { isCaptured, isServed } from './capture.ts'
import { readSnapshot, withEndpoints, type CopyEndpoint } from './copy-endpoints.ts'
import { copyPlacement, type Copied } from './copy-placement.ts'
import { MoveFailedError, NeedsFullCopyError } from './errors.ts'
import { moveObstacle } from './fit.ts'
import type { Pause } from './pause.ts'
import { schemaFingerprint } from './schema-fingerprint.ts'
import { stageChanges } from './stage.ts'

/** How many changes the pause may begin with, while fewer can be had. */
const few = 1_000

export interface Replayed extends Copied {
  /** How many rows were brought over. */
  readonly changes: number
  /** Whether all rows were copied again. */
  readonly isCopy: boolean
}

/**
 * Brings over what changes while the tenant is served, until little is left for its pause, or as much comes in as goes over.
 *
 * @throws FST_TENANCY_MOVE_FAILED when the pause would be too short for what is left, or for the count of the rows
 */
export async function catchUp (
  context: ManagerContext,
  move: Move,
  first: Copied,
  pause: Pause
): Promise<Copied> {
  for (let [copied, before, copies] = [first, Infinity, 0];;) {
    const begun = performance.now()
    const round = await replayChanges(context, move, copied)
    const took = performance.now() - begun
    copied = { seen: round.seen, fingerprint: round.fingerprint }
    if (round.isCopy) {
      copies++
      // What came in while all was copied is brought over like everything else.
      before = Infinity
      if (copies < 2) continue
    } else if (round.changes > few && round.changes <= before / 2) {
      before = round.changes
      continue
    }
    // As much again is to be expected of the pause.
    if (round.isCopy || round.changes > few) pause.assertLonger(took)
    pause.assertLonger(await timeCounts(context, move))
    return copied
  }
}

/**
 * Makes the target, which is a copy of an earlier snapshot, one of a snapshot of now, and compares each row that was brought over. What does not
 * go change by change is copied as a whole.
 *
 * @param signal given for the last time, when nobody writes any more: sequences go along, and all rows are counted. Ends it.
 * @throws FST_TENANCY_MOVE_FAILED
 */
export async function replayChanges (
  context: ManagerContext,
  move: Move,
  { seen, fingerprint }: Copied,
  signal?: AbortSignal
): Promise<Replayed> {
  const isCaughtUp = await isServed(context, move.source)
  const replayed = await replay().catch(async (error: unknown): Promise<Replayed> => {
    if (!needsFullCopy(error)) throw error
    return { ...await copyPlacement(context, move, signal), changes: 0, isCopy: true }
  })
  context.options.progress?.({
    operation: 'move',
    tenant: move.source.id,
    step: 'changes',
    done: replayed.changes
  })
  return replayed

  async function replay (): Promise<Replayed> {
    const replayed = await withEndpoints(context, move, signal, async (from, to) => {
      const problem = moveObstacle(from, to)
      if (problem !== undefined) throw new MoveFailedError(problem)
      if (isCaughtUp && !await isCaptured(from.client, from.placement, from.tables))
        throw new MoveFailedError(
          "the triggers that follow the tenant's changes are not all there any more: move it again"
        )
      if (await schemaFingerprint(from, to) !== fingerprint)
        throw new NeedsFullCopyError('a table was changed as a whole')
      const snapshot = await readSnapshot(from)
      const changes = isCaughtUp ? await stageChanges(from, to, seen) : new Map<string, number>()
      if (changes.size > 0) await applyChanges(from, to, changes)
      const count = [...changes.values()].reduce((sum, rows) => sum + rows, 0)
      return { seen: snapshot, fingerprint, changes: count, isCopy: false }
    })
    // When the locks of the above are gone: in shared tables, others write. Nobody reads the target yet.
    if (signal !== undefined) {
      const carry = await withEndpoints(context, move, signal, async (from, to) => {
        await assertCounts(from, to)
        const source = sourceSequences(
          from.placement,
          await readSequences(from.client, from.placement, from.tables)
        )
        return {
          source,
          target: await readSequences(to.client, to.placement, to.tables),
          isHere: from.client === to.client
        }
      })
      // Others who draw from a shared one wait no longer than it takes.
      await retried(
        signal,
        () =>
          withPlacement(
            context,
            move.target,
            placement => carrySequences(placement, carry.source, carry.target, carry.isHere)
          )
      )
    }
    return replayed
  }
}

// unique_violation, exclusion_violation: values changed hands between rows that others refer to; foreign_key_violation; generated_always; no arbiter
// that is asked at once
function needsFullCopy (error: unknown): boolean {
  return error instanceof NeedsFullCopyError ||
    ['23505', '23P01', '23503', '428C9', '55000'].includes(sqlState(error) ?? '')
}

async function assertCounts (from: CopyEndpoint, to: CopyEndpoint): Promise<void> {
  const [before, after] = await bothCounts(from, to)
  for (const [name, rows] of before)
    if (after.get(name) !== rows)
      throw new NeedsFullCopyError(
        `table '${name}' has ${after.get(name)} of ${rows} rows`
      )
}

/** How long the count within the pause will take, in milliseconds. */
async function timeCounts (context: ManagerContext, move: Move): Promise<number> {
  return withEndpoints(context, move, undefined, async (from, to) => {
    const begun = performance.now()
    await bothCounts(from, to)
    return performance.now() - begun
  })
}

// Of two databases at once. One connection has one statement at a time.
async function bothCounts (
  from: CopyEndpoint,
  to: CopyEndpoint
): Promise<[ReadonlyMap<string, number>, ReadonlyMap<string, number>]> {
  const names = from.tables.map(({ name }) => name)
  if (from.client === to.client) return [await counts(from, names), await counts(to, names)]
  return Promise.all([counts(from, names), counts(to, names)])
}

async function counts (
  { client, placement, tables }: CopyEndpoint,
  names: readonly string[]
): Promise<ReadonlyMap<string, number>> {
  const found = new Map<string, number>()
  for (const name of names) found.set(name, await countTableRows(client, placement, tables, [name]))
  return found
}
