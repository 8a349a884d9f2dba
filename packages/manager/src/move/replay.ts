import { sqlState } from '@fastify-tenancy/database'

import type { ManagerContext } from '../context.ts'
import { countRows, formProblem } from '../transfer/fit.ts'
import { raiseSequences } from '../transfer/load.ts'
import { applyChanges } from './apply.ts'
import { isCaptured, isServed } from './capture.ts'
import { copyHome } from './copy-home.ts'
import { MoveFailedError, Unreplayable } from './errors.ts'
import type { Move } from './moves.ts'
import { readSequences, readSnapshot, withSides, type Side } from './sides.ts'
import { stageChanges } from './stage.ts'

/** How many changes the pause may begin with, while fewer can be had. */
const few = 1_000

export interface Replayed {
  /** What the target is a copy of now. */
  readonly seen: string
  /** How many rows were brought over. */
  readonly changes: number
}

/** Brings over what changes while the tenant is served, until little is left for its pause, or as much comes in as goes over. */
export async function followChanges (context: ManagerContext, move: Move, first: string): Promise<string> {
  for (let [seen, before] = [first, Infinity]; ;) {
    const round = await replayChanges(context, move, seen)
    if (round.changes <= few || round.changes > before / 2) return round.seen
    seen = round.seen
    before = round.changes
  }
}

/**
 * Makes the target, which is a copy of the snapshot `seen`, one of a snapshot of now, and compares each row that was brought over. What does not
 * go change by change is copied as a whole.
 *
 * @param signal given for the last time, when nobody writes any more: sequences go along, and all rows are counted. Ends it.
 * @throws FST_TENANCY_MOVE_FAILED
 */
export async function replayChanges (context: ManagerContext, move: Move, seen: string, signal?: AbortSignal): Promise<Replayed> {
  const isFollowed = await isServed(context, move.source)
  try {
    return await withSides(context, move, signal, async (from, to) => {
      const problem = formProblem(from.tables, to.tables)
      if (problem !== undefined) throw new MoveFailedError(problem)
      if (isFollowed && !await isCaptured(from.client, from.home, from.tables)) throw new MoveFailedError('the triggers that follow the tenant\'s changes are not all there any more: move it again')
      const snapshot = await readSnapshot(from)
      const changes = isFollowed ? await stageChanges(from, to, seen) : new Map<string, number>()
      if (changes.size > 0) await applyChanges(from, to, [...changes.keys()])
      signal?.throwIfAborted()
      if (signal !== undefined) {
        await raiseSequences(to.client, to.tables, await readSequences(from))
        await assertCounts(from, to)
      }
      const count = [...changes.values()].reduce((sum, rows) => sum + rows, 0)
      context.options.progress?.({ operation: 'move', tenant: to.home.tenant, step: 'changes', done: count })
      return { seen: snapshot, changes: count }
    })
  } catch (error) {
    if (!isUnreplayable(error)) throw error
    return { seen: await copyHome(context, move, signal), changes: 0 }
  }
}

// unique_violation, exclusion_violation: values changed hands between rows that others refer to; generated_always; no arbiter that is asked at once
function isUnreplayable (error: unknown): boolean {
  return error instanceof Unreplayable || ['23505', '23P01', '428C9', '55000'].includes(sqlState(error) ?? '')
}

async function assertCounts (from: Side, to: Side): Promise<void> {
  for (const { name } of from.tables) {
    const [before, after] = [await countRows(from.client, from.home, from.tables, [name]), await countRows(to.client, to.home, to.tables, [name])]
    if (before !== after) throw new Unreplayable(`table '${name}' has ${after} of ${before} rows`)
  }
}
