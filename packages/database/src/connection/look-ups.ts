import type pg from 'pg'

import type { SqlClient } from '../setup/sql-client.ts'
import { Lease, type Borrower } from './lease.ts'
import type { LeaseSettings } from './lease-settings.ts'
import { isUntouched } from './retry.ts'

/** A tenant's id has no colon. */
const owner = 'look-up:'

/**
 * Runs the suite's own look-ups on connections that tenants use, too. A look-up is an owner like a tenant: a connection
 * that a tenant touched is reset before it.
 */
export class LookUps implements SqlClient {
  readonly #pool: pg.Pool
  readonly #settings: LeaseSettings
  readonly #borrower: Borrower

  /** @param deadline the longest that one may go unanswered, in milliseconds */
  constructor (pool: pg.Pool, settings: LeaseSettings, deadline: number) {
    this.#pool = pool
    this.#settings = settings
    this.#borrower = { tenant: owner, context: undefined, guard: undefined, deadline }
  }

  async query<R> (text: string, values: unknown[] = []): Promise<{ rows: R[], rowCount: number | null }> {
    // Each attempt that fails this way closes a connection of the pool.
    for (let attempt = 0; ; attempt++) {
      const lease = new Lease(await this.#pool.connect(), this.#borrower, this.#settings, () => {})
      try {
        const { rows, rowCount } = await lease.run({ text, values })
        return { rows: rows as R[], rowCount }
      } catch (error) {
        if (!isUntouched(error) || attempt > (this.#pool.options.max ?? 10)) throw error
      } finally {
        lease.release()
      }
    }
  }
}
