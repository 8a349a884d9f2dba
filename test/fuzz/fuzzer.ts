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
export type OpenFuzzer = (t: Test) => Promise<Fuzzer<never>>

/** A case that showed a fault, shrunk. */
export interface Finding {
  readonly seed: number
  readonly example: unknown
  readonly message: string
}

/** Plays cases from a seed on until the time is over, or one shows a fault. */
export async function search (
  { cases, play }: Fuzzer,
  seed: number,
  budgetMs: number
): Promise<{ played: number; finding: Finding | undefined }> {
  let played = 0
  const property = fc.asyncProperty(cases, async one => {
    played++
    await play(one)
  })
  const { failed, counterexample, errorInstance } = await fc.check(property, {
    seed,
    numRuns: Number.MAX_SAFE_INTEGER,
    interruptAfterTimeLimit: budgetMs
  })
  if (!failed || counterexample === null) return { played, finding: undefined }
  const message = errorInstance instanceof Error ? errorInstance.message : String(errorInstance)
  return { played, finding: { seed, example: counterexample[0], message } }
}
