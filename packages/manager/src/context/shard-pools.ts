import { OptionInvalidError } from '@fastify-tenancy/core'
import type { ResolvedDatabaseOptions } from '@fastify-tenancy/database/options'
import { defaultPoolSettings, isEmbedded, openPool, nameConnectErrors,
  type SqlClient } from '@fastify-tenancy/postgres/client'
import type { ShardUrls } from '@fastify-tenancy/postgres/doctor'
import type pg from 'pg'

import { noteErrorsOf } from './server-error.ts'

/**
 * The manager's connections to each shard, with the login of its `ownerUrl`, or else of its `url`.
 */
export class ShardPools {
  readonly #database: ResolvedDatabaseOptions['database']
  readonly #pools = new Map<string, pg.Pool>()
  readonly #own: pg.Pool[] = []

  constructor (database: ResolvedDatabaseOptions['database']) {
    this.#database = database
  }

  get names (): readonly string[] {
    return ['default', ...Object.keys(this.#database.shards)]
  }

  /** Returns the pool of a shard, opened at its first use. */
  get (shard: string): pg.Pool {
    const known = this.#pools.get(shard)
    if (known !== undefined) return known
    const { url, ownerUrl } = this.logins(shard)
    const source = ownerUrl ?? url
    const pool = typeof source === 'string' ? openManagerPool(source, shard) : source
    if (typeof source === 'string') this.#own.push(pool)
    this.#pools.set(shard, pool)
    return pool
  }

  /**
   * Returns the URLs of a shard.
   *
   * @throws FST_TENANCY_OPTION_INVALID for a shard that the options do not name
   */
  logins (shard: string): Pick<ResolvedDatabaseOptions['database'], 'url'> & ShardUrls {
    const { shards, registryUrl, globalUrl } = this.#database
    const logins = shard === 'default'
      ? this.#database
      : Object.hasOwn(shards, shard)
      ? shards[shard]
      : undefined
    if (logins === undefined)
      throw new OptionInvalidError(
        `options.database.shards must name the shard '${shard}', got ${this.names.join(', ')}`
      )
    const { url, tenantRolesUrl, systemUrl, ownerUrl } = logins
    return {
      url,
      tenantRolesUrl,
      systemUrl,
      ownerUrl,
      ...(shard === 'default' && { registryUrl, globalUrl })
    }
  }

  /**
   * Returns the user that sets the roles of tenants on a shard; undefined if the driver chooses it.
   */
  rolesUser (shard: string): string | undefined {
    const { tenantRolesUrl } = this.logins(shard)
    return tenantRolesUrl === undefined ? this.user(shard) : this.user(shard, tenantRolesUrl)
  }

  /**
   * Returns the URL of the manager's connections to a shard; undefined for a pool that was passed
   * or an embedded database.
   */
  ownerUrl (shard: string): string | undefined {
    const { url, ownerUrl } = this.logins(shard)
    const source = ownerUrl ?? url
    return typeof source === 'string' && !source.startsWith('pglite:') ? source : undefined
  }

  /**
   * Returns the user of the application's connections to a shard; undefined if the driver chooses
   * it.
   */
  user (shard: string, source: string | pg.Pool = this.logins(shard).url): string | undefined {
    const url = typeof source === 'string' ? source : source.options.connectionString
    if (url === undefined) return typeof source === 'string' ? undefined : source.options.user
    if (!URL.canParse(url)) return undefined
    const { protocol, username } = new URL(url)
    return protocol === 'pglite:' || username === '' ? undefined : decodeURIComponent(username)
  }

  /**
   * Returns the database name in a shard's URL; undefined for a pool that was passed or a URL
   * without one.
   */
  databaseName (shard: string): string | undefined {
    const { url, ownerUrl } = this.logins(shard)
    const source = ownerUrl ?? url
    if (typeof source !== 'string' || !URL.canParse(source)) return undefined
    return decodeURIComponent(new URL(source).pathname.slice(1)) || undefined
  }

  /** Closes the pools that were opened here; pools that were passed stay open. Idempotent. */
  async close (): Promise<void> {
    await Promise.all(this.#own.splice(0).map(pool => pool.end()))
  }
}

// The manager works on one thing at a time. The second connection is for a list that is read
// meanwhile.
export function openManagerPool (url: string, shard?: string): pg.Pool {
  const pool = openPool(url, { ...defaultPoolSettings, max: 2 })
  if (isEmbedded(url)) return pool
  noteErrorsOf(pool, { url, shard })
  pool.on('connect', client => {
    noteErrorsOf(client, { url, shard })
  })
  return nameConnectErrors(pool, { url, shard })
}

export async function withClient<T> (pool: pg.Pool, work: (client: SqlClient) => Promise<T>): Promise<T> {
  const client = await pool.connect()
  // A lost connection fails the work on it. Without a listener, the event would end the process.
  // Removed afterwards, because the pool may be the application's.
  client.on('error', ignore)
  try {
    return await work(client)
  } finally {
    client.off('error', ignore)
    client.release()
  }
}

function ignore (): void {}
