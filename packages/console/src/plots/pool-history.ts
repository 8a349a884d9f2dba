import type { SuiteHealth } from '../data/suite.ts'

/** The connections of the process at one moment. */
export interface PoolPoint {
  readonly at: Date
  readonly connections: number
  /** Callers that wait for one. */
  readonly waiting: number
}

const kept = 60

/** The connections of the last 15 minutes, from `app.tenancy.health()`. */
export class PoolHistory {
  readonly #read: () => Pick<SuiteHealth, 'database'>
  readonly #points: PoolPoint[] = []

  constructor (read: () => Pick<SuiteHealth, 'database'>) {
    this.#read = read
  }

  sample (): void {
    const { connections, waiting } = this.#read().database
    this.#points.push({ at: new Date(), connections, waiting })
    if (this.#points.length > kept) this.#points.shift()
  }

  /** The oldest first. */
  get points (): readonly PoolPoint[] {
    return this.#points
  }
}
