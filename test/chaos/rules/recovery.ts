import { describe, isExcused, isServed, type Call, type Rule } from '../history.ts'

/** Soon after a fault every request is answered again, and each one within its bound. */
export const recovery: Rule = {
  name: 'recovery bounded',
  check ({ calls, faults: all, bounds, tenants, processes, deaths }) {
    const faults = all.filter(({ kind }) => kind !== 'busy machine')
    const anywhere = all.map(({ kind, begin, end }) => ({ kind, begin, end }))
    const late = calls.filter(({ status, sent, done, isAborted }) =>
      !isAborted && (status === 503 || status === 500 || status === 0 || done - sent > bounds.answerMs)
    ).filter(call => !isExcused(call, hasWaited(call) ? anywhere : faults, bounds.recoveryMs)).map(call =>
      `long after the last fault: ${describe(call)}`
    )
    const last = Math.max(0, ...faults.map(({ end }) => end)) + bounds.recoveryMs
    const served = new Set(
      calls.filter(call => call.sent > last && (isServed(call) || call.status === 429)).map((
        { tenant, process }
      ) => `${tenant} on process ${process}`)
    )
    const pairs = tenants.flatMap(tenant =>
      Array.from({ length: processes }, (_, process) => `${tenant} on process ${process}`)
    )
    return [...deaths, ...late,
      ...pairs.filter(pair => !served.has(pair)).map(pair => `${pair} is not served in the end`)]
  }
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
