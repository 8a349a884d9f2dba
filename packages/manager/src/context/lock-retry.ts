import { SetupInvalidError } from '@fastify-tenancy/postgres'
import { sqlState, type SqlClient } from '@fastify-tenancy/postgres/client'
import { setTimeout as sleep } from 'node:timers/promises'

export interface LockRetryOptions {
  /** How long one attempt may queue for a lock, in milliseconds. */
  readonly lockTimeout: number
  /** For how long it is tried, in milliseconds. */
  readonly lockRetry: number
  /** Told when a lock was not to be had, before the next attempt. */
  readonly onWait: (what: string) => void
}

/**
 * Runs changes of tables on one connection, each under a bounded wait for its lock: whoever queues for a lock that keeps readers or
 * writers out, keeps them out while it queues. When the time is over it leaves the queue, lets them through, and tries again.
 *
 * ```sql
 * set lock_timeout = '500ms'
 * ```
 */
export class LockRetry {
  readonly #client: SqlClient
  readonly #options: LockRetryOptions
  #current: number | undefined

  constructor (client: SqlClient, options: LockRetryOptions) {
    this.#client = client
    this.#options = options
  }

  /** How long one attempt may queue for a lock, in milliseconds. */
  get lockTimeout (): number {
    return this.#options.lockTimeout
  }

  /** Runs one statement, which queues for a lock for no longer than that where others queue behind it. */
  async run (what: string, sql: string, isBlocking: boolean): Promise<void> {
    await this.attempt(what, async () => {
      await this.#bound(isBlocking ? this.#options.lockTimeout : 0)
      await this.#client.query(sql)
    })
  }

  /**
   * Runs work that bounds its own locks.
   *
   * @throws FST_TENANCY_SETUP_INVALID when a lock was not to be had in all the time; what was done until then stays done.
   */
  async attempt<T> (what: string, work: () => Promise<T>): Promise<T> {
    const deadline = Date.now() + this.#options.lockRetry
    for (;;) {
      try {
        return await work()
      } catch (error) {
        // A check that a row fails says so itself.
        if (sqlState(error) === '23514')
          throw new SetupInvalidError(error instanceof Error ? error.message : what, { cause: error })
        // lock_not_available, deadlock_detected
        if (!['55P03', '40P01'].includes(sqlState(error) ?? '')) throw error
        if (Date.now() >= deadline)
          throw new SetupInvalidError(
            `${what}: the lock was not to be had for ${
              this.#options.lockRetry / 1000
            } s: end the transactions that hold it, and call again`,
            { cause: error }
          )
        this.#options.onWait(what)
        // As long as it was in the way, others now have their turn.
        await sleep(this.#options.lockTimeout * (0.5 + Math.random() / 2))
      }
    }
  }

  /** Leaves the connection as it was. */
  async end (): Promise<void> {
    if (this.#current === undefined) return
    this.#current = undefined
    await this.#client.query('reset lock_timeout').catch(() => {})
  }

  async #bound (lockTimeout: number): Promise<void> {
    if (this.#current === lockTimeout) return
    await this.#client.query(`set lock_timeout = '${lockTimeout}ms'`)
    this.#current = lockTimeout
  }
}
