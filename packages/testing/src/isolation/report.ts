import type { Findings } from './findings.ts'

/** The result of a run. */
export interface IsolationReport {
  /** One row for each route, table and store: requests, how many reached it, and leaks. */
  readonly tried: readonly {
    readonly name: string
    readonly requests: number
    readonly reached: number
    readonly leaks: number
    readonly note: string
  }[]
  readonly leaks: readonly { readonly where: string; readonly request: string; readonly what: string }[]
  /** Routes and tables that could not be tested, and why. */
  readonly notTried: readonly { readonly name: string; readonly reason: string }[]
  /** The kinds of leak that the run planted and found before the attack. */
  readonly proved: readonly string[]
  /** Returns the report as text, with a table at the end. */
  toString(): string
}

export function reportOf (findings: Findings, proved: readonly string[]): IsolationReport {
  const { leaks } = findings
  const tried = findings.tried.map(({ name, requests, reached, leaks: count, note, problem }) => ({
    name,
    requests,
    reached,
    leaks: count,
    note: problem === undefined ? note : `NOT TRIED: ${problem}`
  }))
  const notTried = findings.notTried.map(({ name, problem }) => ({ name, reason: problem ?? '' }))
  const routes = tried.filter(({ name }) => /^[A-Z]+ \/|^[A-Z]+ \*/.test(name)).length
  return {
    tried,
    leaks,
    notTried,
    proved,
    toString () {
      const lines = [
        `${leaks.length} leaks, ${notTried.length} not tried, of ${routes} routes and ${
          tried.length - routes
        } tables and stores`,
        ...leaks.flatMap((
          { where, request, what },
          at
        ) => ['', `${at + 1}. ${where} leaks ${what}`, `   ${request}`]),
        ...notTried.flatMap(({ name, reason }) => ['', `${name} was not tried: ${reason}`]),
        '',
        `planted and found first: ${proved.join(', ')}`,
        '',
        ...table(tried)
      ]
      return lines.join('\n')
    }
  }
}

function table (tried: IsolationReport['tried']): string[] {
  const rows = [['tried', 'requests', 'reached', 'leaks', 'answers'],
    ...tried.map(({ name, requests, reached, leaks, note }) =>
      [name, requests, reached, leaks, note].map(String)
    )]
  const widths = rows[0]?.map((_, at) => Math.max(...rows.map(row => row[at]?.length ?? 0))) ?? []
  return rows.map(row =>
    row.map((cell, at) =>
      at === 4 ? cell : at === 0 ? cell.padEnd(widths[at] ?? 0) : cell.padStart(widths[at] ?? 0)
    ).join('  ')
  )
}
