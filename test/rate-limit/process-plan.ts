// What limiter-process.ts is told, and what it tells.
import type { Precision } from '../../packages/rate-limit/src/limiter.ts'
import type { Quota } from '../../packages/rate-limit/src/quota.ts'

/** Milliseconds of the machine's monotonic clock, the same in all its processes. */
export function clock (): number {
  return Number(process.hrtime.bigint()) / 1e6
}

export interface Plan {
  readonly name: string
  readonly limiter: Precision | 'alone'
  readonly quota: Quota
  /** Milliseconds after the start. */
  readonly arrivals: readonly number[]
}

/** When a request that was admitted was sent, and when it was answered. Redis decided in between. */
export type Admission = readonly [sent: number, answered: number]

export interface Outcome {
  readonly admitted: readonly Admission[]
  /** Why requests got no verdict: those were not refused, Redis failed them. */
  readonly failures: readonly string[]
}
