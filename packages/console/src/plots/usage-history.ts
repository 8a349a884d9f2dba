import type { CountedUsage, CountedReport } from '../data/suite.ts'

/** Samples that are kept, and the milliseconds between two of them: 15 minutes. */
const kept = 60
export const sampleMs = 15_000

const counters = ['requests', 'refusals', 'failedStatements', 'databaseTime', 'databaseWait', 'cacheHits',
  'cacheMisses'] as const

type Counter = typeof counters[number]

/** What happened between two samples. Times are in milliseconds. */
type Counts = Readonly<Record<Counter, number>>

/** What a tenant used in one interval. */
export interface UsagePoint extends Counts {
  /** The end of the interval. */
  readonly at: Date
  /** How long the interval was. */
  readonly seconds: number
  /** The database time of all tenants in the interval. */
  readonly allDatabaseTime: number
}

/** What a tenant used in all kept samples. */
interface BusyTenant extends Counts {
  readonly id: string
  readonly slug: string
  /** Of the database time of all tenants, 0 to 1. */
  readonly share: number
}

interface Sample {
  readonly at: Date
  readonly seconds: number
  readonly allDatabaseTime: number
  /** Only tenants that did anything. */
  readonly tenants: ReadonlyMap<string, Counts>
}

/** The tenants that telemetry counts one by one. */
const top = 2_000

/**
 * Turns the running totals of `app.tenancy.usage()` into what each tenant used in the last 15
 * minutes, in this process. A sample holds only tenants that did something, so quiet tenants cost
 * no memory.
 */
export class UsageHistory {
  readonly #read: (options: { readonly top: number }) => CountedReport
  readonly #now: () => number
  #before: { readonly report: CountedReport; readonly at: number } | undefined
  readonly #samples: Sample[] = []

  /** @param now milliseconds since 1970 */
  constructor (
    read: (options: { readonly top: number }) => CountedReport,
    now: () => number = () => Date.now()
  ) {
    this.#read = read
    this.#now = now
  }

  /** Reads the totals. The first call only begins the count. */
  sample (): void {
    const [report, at, before] = [this.#read({ top }), this.#now(), this.#before]
    this.#before = { report, at }
    // Without time between two samples there is no rate: the clock was set back.
    if (before === undefined || at <= before.at) return
    const isSameCount = before.report.since === report.since
    const old = new Map(isSameCount ? before.report.tenants.map(usage => [usage.id, usage]) : [])
    const used = report.tenants.map(usage => [usage.id, difference(usage, old.get(usage.id))] as const)
    const others = difference(report.other, isSameCount ? before.report.other : undefined)
    this.#samples.push({
      at: new Date(at),
      seconds: (at - before.at) / 1_000,
      allDatabaseTime: used.reduce((sum, [, { databaseTime }]) => sum + databaseTime, others.databaseTime),
      tenants: new Map(used.filter(([, counts]) => counters.some(counter => counts[counter] > 0)))
    })
    if (this.#samples.length > kept) this.#samples.shift()
  }

  /** What a tenant used, the oldest interval first. Empty before the second sample. */
  of (id: string): readonly UsagePoint[] {
    return this.#samples.map(({ tenants, ...interval }) => ({ ...nothing, ...tenants.get(id), ...interval }))
  }

  /** The tenants with the most database time in all kept samples. */
  busiest (most: number): readonly BusyTenant[] {
    const slugs = new Map(this.#before?.report.tenants.map(({ id, slug }) => [id, slug]))
    const sums = new Map<string, Counts>()
    let all = 0
    for (const { tenants, allDatabaseTime } of this.#samples) {
      all += allDatabaseTime
      for (const [id, counts] of tenants) sums.set(id, sum(sums.get(id) ?? nothing, counts))
    }
    return [...sums].toSorted(([, a], [, b]) =>
      b.databaseTime - a.databaseTime || b.refusals - a.refusals || b.requests - a.requests
    )
      .slice(0, most)
      .map(([id, counts]) => ({
        id,
        slug: slugs.get(id) ?? id,
        ...counts,
        share: all === 0 ? 0 : counts.databaseTime / all
      }))
  }
}

const nothing = byCounter(() => 0)

function sum (a: Counts, b: Counts): Counts {
  return byCounter(counter => a[counter] + b[counter])
}

// A total that is lower than before was begun anew: the tenant had been counted among the others
// for a while.
function difference (now: CountedUsage, before: CountedUsage | undefined): Counts {
  return byCounter(counter => {
    const past = before?.[counter] ?? 0
    return now[counter] >= past ? now[counter] - past : now[counter]
  })
}

function byCounter (value: (counter: Counter) => number): Counts {
  return Object.fromEntries(counters.map(counter => [counter, value(counter)])) as Record<Counter, number>
}
