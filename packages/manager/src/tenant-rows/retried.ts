import { sqlState } from '@fastify-tenancy/postgres/client'
import { setTimeout as sleep } from 'node:timers/promises'

// serialization_failure: a reference row was changed since the snapshot. deadlock_detected,
// lock_not_available.
const passing = new Set(['40001', '40P01', '55P03'])

/** Retries work that a lock or a concurrent change prevented. */
export async function retried<T> (signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
  for (let attempt = 1;; attempt++) {
    try {
      return await work()
    } catch (error) {
      if (attempt === 10 || signal?.aborted || !passing.has(sqlState(error) ?? '')) throw error
      await sleep(50 * attempt * (0.5 + Math.random() / 2))
    }
  }
}
