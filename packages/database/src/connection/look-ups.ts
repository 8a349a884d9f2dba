import type pg from 'pg'

import type { SqlClient } from '../setup/sql-client.ts'
import { Lease, type Borrower, type Context, type MakeContext } from './lease.ts'
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
    this.#borrower = {
      tenant: owner,
      context: this.#isHarmless ? () => catalogContext : undefined,
      guard: undefined,
      deadline
    }
  }

  query<R> (text: string, values: unknown[] = []): Promise<{ rows: R[]; rowCount: number | null }> {
    return this.#borrow(this.#borrower, lease => this.#run(lease, text, values))
  }

  /** Runs `work` in a transaction that writes nothing. `context` goes before each of its statements. */
  transaction<T> (context: MakeContext, work: (client: SqlClient) => Promise<T>): Promise<T> {
    return this.#borrow({ ...this.#borrower, context }, async lease => {
      // No isolation level: PostgreSQL refuses one behind a reset in the same batch.
      lease.begin(' read only')
      const result = await work({ query: (text, values = []) => this.#run(lease, text, values) })
      await lease.commit()
      return result
    })
  }

  // Each attempt that fails this way closes a connection of the pool.
  async #borrow<T> (borrower: Borrower, work: (lease: Lease) => Promise<T>): Promise<T> {
    for (let attempt = 0;; attempt++) {
      const lease = new Lease(await this.#pool.connect(), borrower, this.#settings, () => {})
      try {
        return await work(lease)
      } catch (error) {
        if (!isUntouched(error) || attempt > (this.#pool.options.max ?? 10)) throw error
      } finally {
        lease.release()
      }
    }
  }

  async #run<R> (
    lease: Lease,
    text: string,
    values: unknown[]
  ): Promise<{ rows: R[]; rowCount: number | null }> {
    const { rows, rowCount } = await lease.run({ text, values, isHarmless: this.#isHarmless })
    return { rows: rows as R[], rowCount }
  }
}
