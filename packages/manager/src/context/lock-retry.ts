import { SetupInvalidError } from '@fastify-tenancy/postgres'
import { sqlState, type SqlClient } from '@fastify-tenancy/postgres/client'
import { setTimeout as sleep } from 'node:timers/promises'

interface LockRetryOptions {
  /** How long one attempt may wait for a lock, in milliseconds. */
  readonly lockTimeout: number
  /** How long to retry, in milliseconds. */
  readonly lockWaitBudget: number
  /** Called after an attempt without lock, before the next one. */
  readonly onWait: (what: string) => void
}

/**
 * Runs changes of tables on one connection with a bounded wait for each lock. While a statement
 * waits for an exclusive lock, later readers and writers queue behind it. After a timeout it leaves
 * the queue, lets them proceed, and tries again.
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

  /** How long one attempt may wait for a lock, in milliseconds. */
  get lockTimeout (): number {
    return this.#options.lockTimeout
  }

  /** Runs one statement. With `isBlocking`, its wait for a lock is bounded. */
  async run (what: string, sql: string, isBlocking: boolean): Promise<void> {
    await this.attempt(what, async () => {
      await this.#bound(isBlocking ? this.#options.lockTimeout : 0)
      await this.#client.query(sql)
    })
  }

  /**
   * Runs work that bounds its own locks, and retries it.
   *
   * @throws FST_TENANCY_SETUP_INVALID if a lock was not granted in time. Changes committed until
   *   then stay.
   */
  async attempt<T> (what: string, work: () => Promise<T>): Promise<T> {
    const deadline = Date.now() + this.#options.lockWaitBudget
    for (;;) {
      try {
        return await work()
      } catch (error) {
        // check_violation: the message describes the problem already, so it is not retried.
        if (sqlState(error) === '23514')
          throw new SetupInvalidError(error instanceof Error ? error.message : what, { cause: error })
        // lock_not_available, deadlock_detected
        if (!['55P03', '40P01'].includes(sqlState(error) ?? '')) throw error
        if (Date.now() >= deadline)
          throw new SetupInvalidError(
            `${what}: the lock was not granted within ${
              this.#options.lockWaitBudget / 1000
            } s: end the transactions that hold it, then call again`,
            { cause: error }
          )
        this.#options.onWait(what)
        // Pause about as long as the attempt blocked others, so that they can proceed.
        await sleep(this.#options.lockTimeout * (0.5 + Math.random() / 2))
      }
    }
  }

  /** Restores the connection's setting. */
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
