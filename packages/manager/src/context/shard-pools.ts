import { OptionInvalidError } from '@fastify-tenancy/core'
import type { ResolvedDatabaseOptions } from '@fastify-tenancy/database/options'
import { defaultPoolSettings, isEmbedded, openPool, nameConnectErrors,
  type SqlClient } from '@fastify-tenancy/postgres/client'
import type { ShardUrls } from '@fastify-tenancy/postgres/doctor'
import type pg from 'pg'

import { noteErrorsOf } from './server-error.ts'

/** The manager's connections: to each shard with the login of its `ownerUrl`, or of its `url` where there is none. */
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

  /** The pool of a shard, opened at its first use. */
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

  /** @throws FST_TENANCY_OPTION_INVALID for a shard that the options do not name */
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

  /** The user of the login that becomes the roles of tenants on a shard; undefined where the driver decides. */
  rolesUser (shard: string): string | undefined {
    const { tenantRolesUrl } = this.logins(shard)
    return tenantRolesUrl === undefined ? this.user(shard) : this.user(shard, tenantRolesUrl)
  }

  /** The URL of the manager's own connections to a shard; undefined where a pool was passed in, or the database is embedded. */
  ownerUrl (shard: string): string | undefined {
    const { url, ownerUrl } = this.logins(shard)
    const source = ownerUrl ?? url
    return typeof source === 'string' && !source.startsWith('pglite:') ? source : undefined
  }

  /** The user as which the application connects to a shard; undefined where the driver decides. */
  user (shard: string, source: string | pg.Pool = this.logins(shard).url): string | undefined {
    const url = typeof source === 'string' ? source : source.options.connectionString
    if (url === undefined) return typeof source === 'string' ? undefined : source.options.user
    if (!URL.canParse(url)) return undefined
    const { protocol, username } = new URL(url)
    return protocol === 'pglite:' || username === '' ? undefined : decodeURIComponent(username)
  }

  /** The database of a shard, as its URL names it; undefined where a pool was passed in or the URL names none. */
  databaseName (shard: string): string | undefined {
    const { url, ownerUrl } = this.logins(shard)
    const source = ownerUrl ?? url
    if (typeof source !== 'string' || !URL.canParse(source)) return undefined
    return decodeURIComponent(new URL(source).pathname.slice(1)) || undefined
  }

  /** Closes what was opened here; a pool that was passed in stays open. Again does nothing. */
  async close (): Promise<void> {
    await Promise.all(this.#own.splice(0).map(pool => pool.end()))
  }
}

// The manager works on one thing at a time; the second connection serves a list that is read meanwhile.
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
  // A lost connection fails the call that uses it; unheard, the event would end the process. The pool may be the caller's.
  client.on('error', ignore)
  try {
    return await work(client)
  } finally {
    client.off('error', ignore)
    client.release()
  }
}

function ignore (): void {}
