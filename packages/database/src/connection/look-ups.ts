import type pg from 'pg'

import type { SqlClient } from '../setup/sql-client.ts'
import { Lease, type Borrower, type Context } from './lease.ts'
import type { LeaseSettings } from './lease-settings.ts'
import { isUntouched } from './retry.ts'
import { catalogPath } from './reset.ts'

/** A tenant's id has no colon. */
const owner = 'look-up:'

/** The longest that a look-up may go unanswered, in milliseconds. */
const deadline = 30_000

const catalogContext: Context = { ...catalogPath, name: '' }

/**
 * Runs the suite's own look-ups on connections that tenants use, too. A look-up is an owner like a tenant: a connection
 * that a tenant touched is reset before it.
 */
export class LookUps implements SqlClient {
  readonly #pool: pg.Pool
  readonly #settings: LeaseSettings
  readonly #borrower: Borrower
  readonly #isHarmless: boolean

  /** @param reads `'catalog'` for texts of ours that read nothing but pg_catalog, and so are harmless */
  constructor (pool: pg.Pool, settings: LeaseSettings, reads: 'catalog' | 'anything') {
    this.#pool = pool
    this.#settings = settings
    this.#isHarmless = reads === 'catalog'
    this.#borrower = { tenant: owner, context: this.#isHarmless ? () => catalogContext : undefined, guard: undefined, deadline }
  }

  async query<R> (text: string, values: unknown[] = []): Promise<{ rows: R[], rowCount: number | null }> {
    // Each attempt that fails this way closes a connection of the pool.
    for (let attempt = 0; ; attempt++) {
      const lease = new Lease(await this.#pool.connect(), this.#borrower, this.#settings, () => {})
      try {
        const { rows, rowCount } = await lease.run({ text, values, isHarmless: this.#isHarmless })
        return { rows: rows as R[], rowCount }
      } catch (error) {
        if (!isUntouched(error) || attempt > (this.#pool.options.max ?? 10)) throw error
      } finally {
        lease.release()
      }
    }
  }
}
