// What the kinds of fuzzers have in common: random cases, and a world in which one is played.
import fc from 'fast-check'
import type { Test } from 'tap'

/** Plays cases of one kind. A case is plain JSON, so that it can be kept. */
export interface Fuzzer<Case = unknown> {
  readonly cases: fc.Arbitrary<Case>
  /** @throws if the case shows a fault */
  play(one: Case): Promise<void>
}

/** Prepares what the cases of a kind need, until the test ends. */
export type OpenFuzzer<Case> = (t: Test) => Promise<Fuzzer<Case>>

/** A case that showed a fault, shrunk. */
export interface Finding {
  readonly seed: number
  readonly example: unknown
  readonly message: string
  /** How often the case was made simpler. */
  readonly shrinks: number
}

/** How much is played: a number of cases, or as many as fit in a time. */
export interface Budget {
  readonly cases?: number
  readonly timeMs?: number
  /** Whether a case that shows a fault is made as simple as possible. @default true */
  readonly isShrunk?: boolean
}

/** Plays cases from a seed on until the budget is used up, or one shows a fault. */
export async function search<Case> (
  { cases, play }: Fuzzer<Case>,
  seed: number,
  { cases: numRuns = Number.MAX_SAFE_INTEGER, timeMs, isShrunk = true }: Budget
): Promise<{ played: number; finding: Finding | undefined }> {
  let played = 0
  let last: Promise<void> = Promise.resolve()
  const property = fc.asyncProperty(cases, async one => {
    played++
    await (last = play(one))
  })
  const { failed, counterexample, errorInstance, numShrinks } = await fc.check(property, {
    seed,
    numRuns,
    endOnFailure: !isShrunk,
    ...(timeMs !== undefined && { interruptAfterTimeLimit: timeMs })
  })
  // A case that the time limit interrupted still uses the world.
  await last.catch(() => {})
  if (!failed || counterexample === null) return { played, finding: undefined }
  const message = errorInstance instanceof Error ? errorInstance.message : String(errorInstance)
  return { played, finding: { seed, example: counterexample[0], message, shrinks: numShrinks } }
}
