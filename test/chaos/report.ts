// What a run says at its end.
import type { ChaosReport } from './chaos.ts'
import type { History } from './history.ts'

/** The most violations of a rule that are shown. */
const shown = 5

/** The lines of a report: what happened, and how each rule fared. */
export function format ({ history, violations, stalledSeconds }: ChaosReport): string[] {
  const { calls, faults, changes } = history
  const statuses = count(calls.map(({ status, isAborted }) => isAborted ? 'aborted' : String(status)))
  const kinds = count([...faults, ...changes].map(({ kind }) => kind).filter(kind => kind !== 'busy machine'))
  const isBroken = [...violations.values()].some(({ length }) => length > 0)
  const rows = [...history.stored.values()].reduce((all, { values }) => all + values.length, 0)
  return [
    `${calls.length} requests (${statuses}), ${rows} rows`,
    `${kinds}; the machine stood still for ${stalledSeconds.toFixed(1)} s`,
    ...isBroken ? timeline(history) : [],
    ...[...violations].flatMap(([rule, problems]) => [
      `${problems.length === 0 ? 'ok' : 'VIOLATED'}: ${rule}${
        problems.length === 0 ? '' : ` (${problems.length})`
      }`,
      ...problems.slice(0, shown).map(problem => `  ${problem}`)
    ])
  ]
}

/** When each fault and change began and ended, in seconds. */
function timeline ({ faults, changes }: History): string[] {
  return [...faults, ...changes].filter(({ kind, begin, end }) =>
    kind !== 'busy machine' || end - begin > 2_000
  )
    .toSorted((a, b) => a.begin - b.begin).map(event => {
      const where = 'process' in event ? `process ${event.process}` : event.tenant ?? 'everywhere'
      return `  ${(event.begin / 1_000).toFixed(3)} to ${
        (event.end / 1_000).toFixed(3)
      }: ${event.kind}, ${where}`
    })
}

function count (names: readonly string[]): string {
  const counts = new Map<string, number>()
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1)
  return [...counts].map(([name, times]) => `${name}: ${times}`).join(', ')
}
