import { GuardedClient, isEmbeddedPool, connectError, type SqlClient } from '@fastify-tenancy/postgres/client'
import type pg from 'pg'

import type { TenantServerPool } from '../placement/tenant-server.ts'

/** A URL to connect to, or a pool to borrow from. */
export type ConnectionSource = string | TenantServerPool

/**
 * One connection at a time, to one database after the other: what a worker has, so that as many are open as there are workers.
 * The one to the last URL is kept, since the next tenant's is most often the same.
 */
export class Connection {
  #url: string | undefined
  #client: pg.Client | undefined

  /**
   * A connection whose work failed is not used again.
   *
   * @param shard how the error of a connection that cannot be opened names the database
   */
  async use<T> (
    source: ConnectionSource,
    work: (client: SqlClient) => Promise<T>,
    shard?: string
  ): Promise<T> {
    if (typeof source !== 'string') return checkOut(source, work)
    const client = await this.#connect(source, shard)
    try {
      return await work(client)
    } catch (error) {
      await this.close()
      throw error
    }
  }

  async close (): Promise<void> {
    const client = this.#client
    this.#client = undefined
    await client?.end().catch(() => {})
  }

  async #connect (url: string, shard: string | undefined): Promise<pg.Client> {
    if (this.#client !== undefined && this.#url === url) return this.#client
    await this.close()
    const client = new GuardedClient({
      connectionString: url,
      connectionTimeoutMillis: 10_000,
      keepAlive: true,
      application_name: 'tenancy migrate'
    })
    // A lost connection fails the work on it; unheard, the event would end the process.
    client.on('error', () => {
      if (this.#client === client) this.#client = undefined
    })
    await client.connect().catch((error: unknown) => {
      throw connectError(error, { url, shard })
    })
    this.#url = url
    this.#client = client
    return client
  }
}

async function checkOut<T> (
  { pool, isOwn }: TenantServerPool,
  work: (client: SqlClient) => Promise<T>
): Promise<T> {
  try {
    const client = await pool.connect()
    let isClean = isEmbeddedPool(pool)
    try {
      const result = await work(client)
      isClean = true
      return result
    } finally {
      client.release(!isClean)
    }
  } finally {
    if (isOwn) await pool.end()
  }
}
