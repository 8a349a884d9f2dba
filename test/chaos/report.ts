// What a run says at its end.
import type { ChaosReport } from './chaos.ts'

/** The most violations of a rule that are shown. */
const shown = 5

/** The lines of a report: what happened, and how each rule fared. */
export function format ({ history, violations, stalledSeconds }: ChaosReport): string[] {
  const { calls, faults, changes } = history
  const statuses = count(calls.map(({ status, isAborted }) => isAborted ? 'aborted' : String(status)))
  const kinds = count([...faults, ...changes].map(({ kind }) => kind).filter(kind => kind !== 'busy machine'))
  const rows = [...history.stored.values()].reduce((all, { values }) => all + values.length, 0)
  return [
    `${calls.length} requests (${statuses}), ${rows} rows`,
    ...process.env.CHAOS_DEBUG
      ? faults.filter(f => f.kind !== 'busy machine').map(f =>
        `  ${f.kind} ${f.process ?? f.tenant ?? ''} ${(f.begin / 1e3).toFixed(2)} ${(f.end / 1e3).toFixed(2)}`
      )
      : [],
    `${kinds}; the machine stood still for ${stalledSeconds.toFixed(1)} s`,
    ...[...violations].flatMap(([rule, problems]) => [
      `${problems.length === 0 ? 'ok' : 'VIOLATED'}: ${rule}${
        problems.length === 0 ? '' : ` (${problems.length})`
      }`,
      ...problems.slice(0, shown).map(problem => `  ${problem}`)
    ])
  ]
}

function count (names: readonly string[]): string {
  const counts = new Map<string, number>()
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1)
  return [...counts].map(([name, times]) => `${name}: ${times}`).join(', ')
}
