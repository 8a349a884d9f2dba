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

/** A round with at most this many changes is small enough to begin the pause. */
const few = 1_000

interface Replayed extends Copied {
  /** Number of rows applied. */
  readonly changes: number
  /** Whether all rows were copied again. */
  readonly isCopy: boolean
}

/**
 * Applies changes while the tenant is served, until few are left or the number no longer halves
 * from round to round.
 *
 * @throws FST_TENANCY_MOVE_FAILED if the pause is too short for the remaining changes, or for
 *   counting the rows
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
      // Changes made during a full copy are applied by further rounds.
      before = Infinity
      if (copies < 2) continue
    } else if (round.changes > few && round.changes <= before / 2) {
      before = round.changes
      continue
    }
    // The round within the pause is expected to be as large as this one.
    if (round.isCopy || round.changes > few) pause.assertLonger(took)
    pause.assertLonger(await timeCounts(context, move))
    return copied
  }
}

/**
 * Brings the target from an earlier snapshot of the source to the current one, and compares each
 * applied row. Copies all rows again if the changes cannot be applied row by row.
 *
 * @param signal passed in the last round, when the tenant is locked out: sequences are carried over
 *   and all rows are counted. Aborting it ends the round.
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
          "the triggers that record the tenant's changes are incomplete: move the tenant again"
        )
      if (await schemaFingerprint(from, to) !== fingerprint)
        throw new NeedsFullCopyError('a table was altered, truncated or rewritten')
      const snapshot = await readSnapshot(from)
      const changes = isCaughtUp ? await stageChanges(from, to, seen) : new Map<string, number>()
      if (changes.size > 0) await applyChanges(from, to, changes)
      const count = [...changes.values()].reduce((sum, rows) => sum + rows, 0)
      return { seen: snapshot, fingerprint, changes: count, isCopy: false }
    })
    // Counts in a second transaction, after the first released its locks, because other tenants
    // write to tenant tables. No request reads the target yet.
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
      // A transaction of its own, so that tenants that use a sequence of a tenant table wait only
      // briefly.
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

// 23505 and 23P01: a unique value passed between rows that foreign keys refer to. 23503 is
// foreign_key_violation, 428C9 generated_always. 55000: `on conflict` rejects a deferrable key.
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

/** Returns how many milliseconds counting the rows takes, to predict the count within the pause. */
async function timeCounts (context: ManagerContext, move: Move): Promise<number> {
  return withEndpoints(context, move, undefined, async (from, to) => {
    const begun = performance.now()
    await bothCounts(from, to)
    return performance.now() - begun
  })
}

// Counts two databases in parallel. A single connection runs one statement at a time.
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
