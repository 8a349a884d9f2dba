// Input and output of limiter-process.ts.
import type { Precision } from '../../packages/rate-limit/src/limiter.ts'
import type { Quota } from '../../packages/rate-limit/src/quota.ts'

/** Returns the machine's monotonic clock in milliseconds, which all its processes share. */
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

/** When an admitted request was sent and when it was answered. Redis decided in between. */
export type Admission = readonly [sent: number, answered: number]

export interface Outcome {
  readonly admitted: readonly Admission[]
  /** Errors of requests that got no verdict. These were not refused, their Redis command failed. */
  readonly failures: readonly string[]
}
