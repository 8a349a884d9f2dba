import { describe, isExcused, isServed, type Call, type History, type Rule } from '../history.ts'

/** A process that stood still for so long could not answer. */
const longStallMs = 1_000

/** Soon after a fault every request is answered again, and each one within its bound. */
export const recovery: Rule = {
  name: 'recovery bounded',
  check (history) {
    const { calls, bounds, deaths, faults } = history
    const causes = faults.filter(({ kind, begin, end }) =>
      kind !== 'busy machine' || end - begin > longStallMs
    )
    const anywhere = faults.map(({ kind, begin, end }) => ({ kind, begin, end }))
    const late = calls.filter(({ status, sent, done, isAborted }) =>
      !isAborted && (status === 503 || status === 500 || status === 0 || done - sent > bounds.answerMs)
    ).filter(call => !isExcused(call, hasWaited(call) ? anywhere : causes, bounds.recoveryMs))
    return [
      ...deaths,
      ...late.map(call => `long after the last fault: ${describe(call)}`),
      ...unserved(history).map(pair => `${pair} is not served in the end`)
    ]
  }
}

/** The tenants on processes that were not served since the last fault. */
export function unserved (
  { calls, faults, bounds, tenants, processes }: Pick<
    History,
    'calls' | 'faults' | 'bounds' | 'tenants' | 'processes'
  >
): string[] {
  const ends = faults.filter(({ kind }) => kind !== 'busy machine').map(({ end }) => end)
  const last = Math.max(0, ...ends) + bounds.recoveryMs
  const served = new Set(
    calls.filter(call => call.sent > last && (isServed(call) || call.status === 429)).map((
      { tenant, process }
    ) => `${tenant} on process ${process}`)
  )
  return tenants.flatMap(tenant =>
    Array.from({ length: processes }, (_, process) => `${tenant} on process ${process}`)
  ).filter(pair => !served.has(pair))
}

/** Codes of requests that gave up waiting for a lock, a connection, or a look-up. */
const waits = new Set(['FST_TENANCY_DATABASE_RETRY', 'FST_TENANCY_DATABASE_BUSY',
  'FST_TENANCY_REGISTRY_UNAVAILABLE'])

/**
 * Whether the request gave up waiting. A broken process may hold the lock, and on a busy machine
 * it happens without a fault.
 */
function hasWaited ({ body }: Call): boolean {
  return waits.has((body as { code?: string } | undefined)?.code ?? '')
}
