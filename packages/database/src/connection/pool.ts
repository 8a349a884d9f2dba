import pg from 'pg'

import { DatabaseBusyError, DatabaseUnavailableError } from '../errors.ts'
import { Lease, type LeaseSettings, type MakeContext } from './lease.ts'
import { isServerError } from './pg-internals.ts'
import { Session } from './session.ts'

/** How many may wait for a connection before more are turned away. */
const maxWaiting = 1_000

/** The connections of one login to one database. */
export class ConnectionPool {
  readonly pool: pg.Pool
  readonly #isOwned: boolean
  readonly #settings: LeaseSettings

  /** @param isOwned whether `close()` ends the pool: one that was passed in belongs to its caller. */
  constructor (pool: pg.Pool, isOwned: boolean, settings: LeaseSettings) {
    this.pool = pool
    this.#isOwned = isOwned
    this.#settings = settings
    // A backend that dies while idle is reported here; without a listener it would end the process.
    pool.on('error', ignore)
    pool.on('connect', Session.of)
  }

  /**
   * Borrows a connection for one tenant's statements.
   *
   * @throws FST_TENANCY_DATABASE_BUSY when too many wait, or none came free in time
   * @throws FST_TENANCY_DATABASE_UNAVAILABLE when the server cannot be reached
   */
  async acquire (context: MakeContext): Promise<Lease> {
    if (this.pool.waitingCount >= maxWaiting) throw new DatabaseBusyError()
    const client = await this.pool.connect().catch((error: unknown) => { throw this.#explain(error) })
    return new Lease(client, context, this.#settings)
  }

  async close (): Promise<void> {
    this.pool.off('error', ignore)
    this.pool.off('connect', Session.of)
    if (!this.#isOwned) return
    this.pool.on('error', ignore)
    await this.pool.end()
  }

  #explain (error: unknown): Error {
    const isFull = this.pool.totalCount >= (this.pool.options.max ?? 10) && this.pool.idleCount === 0
    const isRefused = isServerError(error) && error.code === '53300'
    return isRefused || (isFull && !isServerError(error) && isTimeout(error))
      ? new DatabaseBusyError(undefined, { cause: error })
      : new DatabaseUnavailableError(undefined, { cause: error })
  }
}

function ignore (): void {}

function isTimeout (error: unknown): boolean {
  return error instanceof Error && error.message === 'timeout exceeded when trying to connect'
}
