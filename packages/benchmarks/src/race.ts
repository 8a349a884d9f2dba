// Interleaved measurement. On a shared machine, only work that ran side by side can be compared.

/** The result of one slice of one contender: figures by name. */
export type Sample = Readonly<Record<string, number>>

export interface Contender {
  readonly name: string
  /** Works for about {@link sliceMs} and returns its figures. */
  run(): Promise<Sample>
}

/** Length of one slice in milliseconds: `BENCH_MS`. @default 1000 */
export const sliceMs: number = Number(process.env['BENCH_MS'] ?? 1_000)
/** How many slices each contender gets: `BENCH_ROUNDS`. @default 9 */
export const rounds: number = Number(process.env['BENCH_ROUNDS'] ?? 9)

/** The middle half of some figures, with the median. */
export interface Spread {
  readonly low: number
  readonly median: number
  readonly high: number
}

/** The result of a race. */
export class Race {
  readonly baseline: string
  readonly #runs: readonly { readonly name: string; readonly sample: Sample; readonly beside: Sample }[]

  constructor (
    baseline: string,
    runs: readonly { readonly name: string; readonly sample: Sample; readonly beside: Sample }[]
  ) {
    this.baseline = baseline
    this.#runs = runs
  }

  get names (): string[] {
    return [...new Set(this.#runs.map(({ name }) => name))]
  }

  /** Returns a figure of one contender, over all rounds. */
  figure (name: string, figure: string): Spread {
    return spread(this.#of(name).map(({ sample }) => sample[figure] ?? Number.NaN))
  }

  /** Returns the figure divided by the baseline's: the mean of the slices before and after it. */
  ratio (name: string, figure: string): Spread {
    return spread(
      this.#of(name).map(({ sample, beside }) =>
        (sample[figure] ?? Number.NaN) / (beside[figure] ?? Number.NaN)
      )
    )
  }

  /** Returns the ratio divided by another contender's ratio of the same round. */
  ratioTo (name: string, other: string, figure: string): Spread {
    const others = this.#of(other)
    return spread(
      this.#of(name).map(({ sample, beside }, round) => {
        const theirs = others[round]
        return (sample[figure] ?? Number.NaN) / (beside[figure] ?? Number.NaN) /
          ((theirs?.sample[figure] ?? Number.NaN) / (theirs?.beside[figure] ?? Number.NaN))
      })
    )
  }

  #of (name: string): { readonly sample: Sample; readonly beside: Sample }[] {
    return this.#runs.filter(run => run.name === name)
  }
}

/** Runs A B A C A … in each round. The first round warms up and is discarded. */
export async function race (baseline: Contender, others: readonly Contender[]): Promise<Race> {
  const runs: { name: string; sample: Sample; beside: Sample }[] = []
  let before = await baseline.run()
  for (let round = 0; round <= rounds; round++) {
    for (const { name, run } of others.toSorted(() => round % 2 - 0.5)) {
      const sample = await run()
      const after = await baseline.run()
      if (round > 0)
        runs.push({ name, sample, beside: mean(before, after) }, {
          name: baseline.name,
          sample: after,
          beside: mean(before, after)
        })
      before = after
    }
    process.stderr.write(round === 0 ? 'warm' : ` ${round}`)
  }
  process.stderr.write('\n')
  return new Race(baseline.name, runs)
}

function mean (one: Sample, other: Sample): Sample {
  return Object.fromEntries(
    Object.entries(one).map(([figure, value]) => [figure, (value + (other[figure] ?? value)) / 2])
  )
}

function spread (values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b)
  return { low: quantile(sorted, 0.25), median: quantile(sorted, 0.5), high: quantile(sorted, 0.75) }
}

/** Returns the quantile `part` (0 to 1) of sorted values. */
export function quantile (sorted: ArrayLike<number>, part: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN
}
