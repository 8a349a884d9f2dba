import type pg from 'pg'

import { DatabaseBusyError, DatabaseUnavailableError } from '../errors.ts'
import { BackendStopper } from './cancel.ts'
import { FairQueue, type FairQueueSettings } from './fair-queue.ts'
import { Lease, type Borrower, type LeaseSettings } from './lease.ts'
import { isServerError } from './pg-internals.ts'
import { Session } from './session.ts'

/** {@link FairQueueSettings} but for the slots, which are the pool's connections; `share` is a part of them. */
export type Fairness = Omit<FairQueueSettings, 'slots'>

/** The connections of one login to one database. */
export class ConnectionPool {
  readonly pool: pg.Pool
  readonly #isOwned: boolean
  #settings: LeaseSettings
  readonly #stopper = new BackendStopper()
  readonly #queue: FairQueue
  // Those who wait for a connection or hold one.
  #users = 0
  #onUnused: (() => void) | undefined

  /** @param isOwned whether `close()` ends the pool: one that was passed in belongs to its caller. */
  constructor (pool: pg.Pool, isOwned: boolean, settings: Omit<LeaseSettings, 'stopper'>, { share, ...fairness }: Fairness) {
    const slots = pool.options.max ?? 10
    this.pool = pool
    this.#queue = new FairQueue({ slots, share: Math.max(1, Math.floor(slots * share)), ...fairness })
    this.#isOwned = isOwned
    this.#settings = { ...settings, stopper: this.#stopper }
    // A backend that dies while idle is reported here; without a listener it would end the process.
    pool.on('error', ignore)
    pool.on('connect', Session.of)
  }

  /**
   * Borrows a connection for one tenant's statements, by the tenant's turn.
   *
   * @throws FST_TENANCY_DATABASE_BUSY when too many wait, or none came free in time
   * @throws FST_TENANCY_DATABASE_UNAVAILABLE when the server cannot be reached
   */
  async acquire (borrower: Borrower): Promise<Lease> {
    const leave = this.hold()
    let giveBack = ignore
    try {
      giveBack = await this.#queue.acquire(borrower.tenant)
      return new Lease(await this.pool.connect(), borrower, this.#settings, () => {
        giveBack()
        leave()
      })
    } catch (error) {
      giveBack()
      leave()
      throw this.explain(error)
    }
  }

  /** Sends statements unnamed from now on: for a pooler that gives each transaction another backend, where a name would be unknown. */
  forgoNames (): void {
    this.#settings = { ...this.#settings, names: false }
  }

  /** Closes the pool as soon as nobody waits for a connection or holds one; whoever has it may still borrow until then. */
  async retire (): Promise<void> {
    if (this.#users > 0) await new Promise<void>(resolve => { this.#onUnused = resolve })
    await this.close()
  }

  /** Keeps a pool that is retired open until the returned function is called. */
  hold (): () => void {
    this.#users++
    return () => {
      this.#users--
      if (this.#users === 0) this.#onUnused?.()
    }
  }

  get waiting (): number {
    return this.#queue.waiting
  }

  async close (): Promise<void> {
    this.#queue.close()
    this.#stopper.close()
    this.pool.off('error', ignore)
    this.pool.off('connect', Session.of)
    if (!this.#isOwned) return
    this.pool.on('error', ignore)
    await this.pool.end()
  }

  /** An error in getting a connection, as one that a client may be told of. */
  explain (error: unknown): Error {
    if (error instanceof DatabaseBusyError || error instanceof DatabaseUnavailableError) return error
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
