import type { SqlClient } from '@fastify-tenancy/postgres/client'
import type pg from 'pg'

import type { ConnectionSettings } from './connection-settings.ts'
import { catalogPath } from './reset.ts'
import { neverExecuted } from './retry.ts'
import { TenantConnection, type ConnectionOwner, type Context,
  type MakeContext } from './tenant-connection.ts'

/** The owner of look-ups. It has a colon, which no tenant id contains. */
const owner = 'look-up:'

/** Milliseconds until a look-up without a reply counts as lost. */
const deadline = 30_000

const catalogContext: Context = { ...catalogPath, name: '' }

/**
 * Runs the suite's own look-ups on connections that tenants use, too. A look-up is an owner like a
 * tenant, so a touched connection is reset before it.
 */
export class LookUps implements SqlClient {
  readonly #pool: pg.Pool
  readonly #settings: ConnectionSettings
  readonly #owner: ConnectionOwner
  readonly #isHarmless: boolean

  /** @param reads `'catalog'` if all texts read only pg_catalog, so that they are harmless */
  constructor (pool: pg.Pool, settings: ConnectionSettings, reads: 'catalog' | 'anything') {
    this.#pool = pool
    this.#settings = settings
    this.#isHarmless = reads === 'catalog'
    this.#owner = {
      tenant: owner,
      context: this.#isHarmless ? () => catalogContext : undefined,
      guard: undefined,
      deadline
    }
  }

  query<R> (text: string, values: unknown[] = []): Promise<{ rows: R[]; rowCount: number | null }> {
    return this.#checkOut(this.#owner, connection => this.#run(connection, text, values))
  }

  /** Runs `work` in a read-only transaction. `context` runs before each of its statements. */
  transaction<T> (context: MakeContext, work: (client: SqlClient) => Promise<T>): Promise<T> {
    return this.#checkOut({ ...this.#owner, context }, async connection => {
      // No isolation level, because PostgreSQL refuses one behind a reset in the same batch.
      connection.begin(' read only')
      const result = await work({ query: (text, values = []) => this.#run(connection, text, values) })
      await connection.commit()
      return result
    })
  }

  // Try at most once per connection of the pool, because each such failure closes one.
  async #checkOut<T> (
    owner: ConnectionOwner,
    work: (connection: TenantConnection) => Promise<T>
  ): Promise<T> {
    for (let attempt = 0;; attempt++) {
      const connection = new TenantConnection(await this.#pool.connect(), owner, this.#settings, () => {})
      try {
        return await work(connection)
      } catch (error) {
        if (!neverExecuted(error) || attempt > (this.#pool.options.max ?? 10)) throw error
      } finally {
        connection.release()
      }
    }
  }

  async #run<R> (
    connection: TenantConnection,
    text: string,
    values: unknown[]
  ): Promise<{ rows: R[]; rowCount: number | null }> {
    const { rows, rowCount } = await connection.run({ text, values, isHarmless: this.#isHarmless })
    return { rows: rows as R[], rowCount }
  }
}
