import { isServed, type Call, type Fault, type History, type Rule } from '../history.ts'

const windowMs = 60_000
/** Faults after which Redis may not know of every admitted request. */
const losing = new Set(['failover'])
/** Faults in which processes count alone. */
const storeFaults = new Set(['freeze redis', 'restart redis', 'cut redis', 'drop redis', 'failover', 'pause',
  'busy machine'])

/**
 * In no 60 s more requests are admitted than the limit. While Redis is away, the processes may add
 * their shares, which are the limit together.
 */
export const limits: Rule = {
  name: 'limits never passed',
  check (history) {
    const admitted = history.calls.filter(call => call.tenant === history.limited && isServed(call))
    const byEnd = admitted.toSorted((a, b) => a.done - b.done)
    return admitted.flatMap(({ sent }) => {
      // Only what began and ended inside the window is sure to be counted in it.
      const inside = byEnd.filter(call => call.sent >= sent && call.done <= sent + windowMs)
      const most = allowed(history, inside, sent)
      return inside.length > most
        ? [`${inside.length} of ${most} within 60 s from ${sent.toFixed(0)} on`]
        : []
    }).slice(0, 1)
  }
}

/** The limit, with what the guide allows for each outage of Redis in the window. */
function allowed ({ faults, bounds, processes }: History, inside: readonly Call[], from: number): number {
  const last = inside.at(-1)?.done ?? from
  const met = (names: ReadonlySet<string>): readonly Fault[] =>
    faults.filter(({ kind, begin, end }) =>
      names.has(kind) && end + bounds.recoveryMs >= from - windowMs && begin <= last
    )
  if (met(storeFaults).length === 0) return bounds.perMinute
  // A process that starts in an outage has not met the others and takes the whole limit.
  const started = met(new Set(['kill', 'terminate', 'rotate'])).length * (processes + 1)
  return bounds.perMinute * (2 + met(losing).length + started)
}
