import { retried, sqlState } from '@fastify-tenancy/postgres/client'

// serialization_failure: a reference row was changed since the snapshot. deadlock_detected,
// lock_not_available.
const passing = new Set(['40001', '40P01', '55P03'])

/** Retries work that a lock or a concurrent change prevented. */
export function retriedRows<T> (signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
  return retried(work, {
    attempts: 10,
    pauseMs: 50,
    isPassing: error => passing.has(sqlState(error) ?? ''),
    signal
  })
}
