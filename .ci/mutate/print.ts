// The verdicts on mutants, and their report.
import type { Mutant } from './mutants.ts'

export interface Verdict {
  readonly mutant: Mutant
  /** `'refused'`: by the compiler. */
  readonly outcome: 'killed' | 'timed out' | 'survived' | 'refused' | 'equivalent'
  /** The test file that killed it. */
  readonly test?: string
  readonly testHash?: string
  readonly failure?: string
  /** For an equivalent mutant. */
  readonly reason?: string
  /** For a survivor: how many tests it survived, of those that execute it. */
  readonly tried?: number
  readonly covering?: number
}

/** Prints survivors and counts. Returns the percentage of mutants that were killed. */
export function print (verdicts: readonly Verdict[], chosen: number): number {
  const of = (...outcomes: Verdict['outcome'][]): Verdict[] =>
    verdicts.filter(({ outcome }) => outcomes.includes(outcome))
  const survivors = of('survived').toSorted((a, b) => a.mutant.file < b.mutant.file ? -1 : 1)
  for (const { mutant, tried = 0, covering = 0 } of survivors)
    console.log(
      `survived ${mutant.file}:${mutant.line} ${mutant.mutator}, ${tried} of ${covering} tests\n  ` +
        `- ${short(mutant.original)}\n  + ${short(mutant.replacement)}`
    )
  for (const { mutant, reason } of of('equivalent'))
    console.log(`equivalent ${mutant.file}:${mutant.line} ${short(mutant.replacement)}: ${reason}`)
  const killed = of('killed', 'timed out').length
  const counted = killed + survivors.length
  const percent = counted === 0 ? 100 : killed / counted * 100
  console.log(
    `${verdicts.length} of ${chosen} mutants: ${killed} killed (${
      of('timed out').length
    } by the time limit), ` +
      `${survivors.length} survived, ${of('equivalent').length} equivalent, ` +
      `${of('refused').length} refused by the compiler: ${percent.toFixed(1)} % killed`
  )
  return percent
}

function short (text: string): string {
  const line = text.replaceAll(/\s+/g, ' ')
  return line.length > 90 ? `${line.slice(0, 87)}…` : line
}
