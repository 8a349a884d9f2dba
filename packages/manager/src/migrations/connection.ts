import { GuardedClient, isEmbeddedPool, connectError, type SqlClient } from '@fastify-tenancy/postgres/client'
import type pg from 'pg'

import type { TenantServerPool } from '../placement/tenant-server.ts'

/** A URL to connect to, or a pool to check a connection out of. */
export type ConnectionSource = string | TenantServerPool

/**
 * One connection at a time, to one database after the other. Each worker has one, so there are as
 * many connections as workers. The connection stays open for the next call, because the next
 * tenant's URL is usually the same.
 */
export class Connection {
  #url: string | undefined
  #client: pg.Client | undefined

  /**
   * Runs `work` on a connection, which is closed if the work fails.
   *
   * @param shard name of the shard in the error of a failed connection attempt
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
    // A lost connection fails the work on it. Without a listener, the event would end the process.
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
