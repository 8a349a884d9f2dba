import type pg from 'pg'

import type { SqlClient } from '../setup/sql-client.ts'
import { Lease, type Borrower, type MakeContext } from './lease.ts'
import type { LeaseSettings } from './lease-settings.ts'
import { isUntouched } from './retry.ts'

/** A tenant's id has no colon. */
const owner = 'look-up:'

/** How look-ups are run. */
export interface LookUpSettings {
  /** The longest that one may go unanswered, in milliseconds. */
  readonly deadline: number
  /** Whether every text is the suite's own and names nothing but pg_catalog: it changes and reads nothing of its session. */
  readonly isHarmless: boolean
}

/**
 * Runs the suite's own look-ups on connections that tenants use, too. A look-up is an owner like a tenant: a connection
 * that a tenant touched is reset before it.
 */
export class LookUps implements SqlClient {
  readonly #pool: pg.Pool
  readonly #settings: LeaseSettings
  readonly #borrower: Borrower
  readonly #isHarmless: boolean

  constructor (pool: pg.Pool, settings: LeaseSettings, { deadline, isHarmless }: LookUpSettings) {
    this.#pool = pool
    this.#settings = settings
    this.#borrower = { tenant: owner, context: undefined, guard: undefined, deadline }
    this.#isHarmless = isHarmless
  }

  query<R> (text: string, values: unknown[] = []): Promise<{ rows: R[], rowCount: number | null }> {
    return this.#borrow(this.#borrower, lease => this.#run(lease, text, values))
  }

  /** Runs `work` on one snapshot, which writes nothing. `context` goes before each of its statements. */
  transaction<T> (context: MakeContext, work: (client: SqlClient) => Promise<T>): Promise<T> {
    return this.#borrow({ ...this.#borrower, context }, async lease => {
      lease.begin(' isolation level repeatable read read only')
      const result = await work({ query: (text, values = []) => this.#run(lease, text, values) })
      await lease.commit()
      return result
    })
  }

  // Each attempt that fails this way closes a connection of the pool.
  async #borrow<T> (borrower: Borrower, work: (lease: Lease) => Promise<T>): Promise<T> {
    for (let attempt = 0; ; attempt++) {
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

  async #run<R> (lease: Lease, text: string, values: unknown[]): Promise<{ rows: R[], rowCount: number | null }> {
    const { rows, rowCount } = await lease.run({ text, values, isHarmless: this.#isHarmless })
    return { rows: rows as R[], rowCount }
  }
}
