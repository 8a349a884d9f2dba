import { channels, type Tenant } from '@fastify-tenancy/core'
import { DatabaseUnavailableError } from '@fastify-tenancy/postgres'
import { isEmbedded } from '@fastify-tenancy/postgres/client'
import { databaseNameOf, resolveTenantUrl,
  type ResolvedTenantsOptions } from '@fastify-tenancy/postgres/placement'
import { LRUCache } from 'lru-cache'
import type pg from 'pg'

import type { ConnectionOwner, TenantConnection } from '../connection/tenant-connection.ts'
import type { ResolvedDatabaseOptions } from '../options/options.ts'
import type { ConnectionBudget } from './budget.ts'
import { TenantPool } from './tenant-pool.ts'

/** The parts that tenants' databases share with the shards. */
interface SharedParts {
  readonly budget: ConnectionBudget
  /** Returns the schemas of extensions, as in the default shard. */
  readonly extensions: () => readonly string[]
}

/**
 * Caches a small pool for each tenant database in use, and retires the least recently used to make
 * room. A retired pool leaves the cache at once, and is closed after its last user has finished.
 */
export class TenantPoolCache {
  readonly #options: ResolvedDatabaseOptions
  readonly #tenants: ResolvedTenantsOptions
  readonly #shared: SharedParts
  readonly #pools: LRUCache<string, Promise<TenantPool>>
  // Includes pools that left the cache and have not ended yet.
  readonly #live = new Map<TenantPool, string>()

  constructor (options: ResolvedDatabaseOptions, tenants: ResolvedTenantsOptions, shared: SharedParts) {
    this.#options = options
    this.#tenants = tenants
    this.#shared = shared
    this.#pools = new LRUCache({
      max: tenants.maxPools,
      ttl: tenants.idle,
      updateAgeOnGet: true,
      ttlAutopurge: true,
      dispose: pool => {
        void pool.then(retiring => this.#retire(retiring), () => {})
      }
    })
  }

  get connections (): number {
    return [...this.#live.keys()].reduce((sum, { pool }) => sum + pool.totalCount, 0)
  }

  get waiting (): number {
    return [...this.#live.keys()].reduce((sum, { waiting }) => sum + waiting, 0)
  }

  /**
   * Checks out a connection to a tenant's database. `make` returns its owner, using the pool's
   * guard.
   */
  async acquire (tenant: Tenant, make: (pool: TenantPool) => ConnectionOwner): Promise<TenantConnection> {
    for (;;) {
      const pool = await this.#poolOf(tenant)
      // False if the pool was evicted since `#poolOf`. The next round finds or opens another.
      if (!pool.isRetired) return pool.acquire(make(pool))
    }
  }

  dropPreparedNames (): void {
    for (const pool of this.#live.keys()) pool.dropPreparedNames()
  }

  async close (): Promise<void> {
    const opening = [...this.#pools.values()]
    this.#pools.clear()
    await Promise.allSettled(opening)
    await Promise.all([...this.#live.keys()].map(pool => pool.close()))
  }

  #poolOf (tenant: Tenant): Promise<TenantPool> {
    // The database name is part of the key, so a moved tenant gets a new pool.
    const key = `${tenant.id} ${databaseNameOf(tenant)}`
    const known = this.#pools.get(key)
    if (known !== undefined) return known
    // Stored before it settles, so that concurrent first requests share one pool.
    const opening = this.#open(tenant, key)
    this.#pools.set(key, opening)
    opening.catch(() => {
      if (this.#pools.peek(key) === opening) this.#pools.delete(key)
    })
    return opening
  }

  async #open (tenant: Tenant, key: string): Promise<TenantPool> {
    const source = await resolveTenantUrl(tenant, this.#tenants).catch((cause: unknown) => {
      throw new DatabaseUnavailableError(undefined, { cause })
    })
    const isOwned = typeof source === 'string'
    // Only one process may use the folder of an embedded database, so its evicted pool must end
    // first.
    if (isOwned && isEmbedded(source))
      await Promise.all(Array.from(this.#live, ([pool, old]) => old === key && pool.retire()))
    const pool = new TenantPool(
      isOwned ? this.#openPool(source) : source,
      isOwned,
      this.#options,
      this.#shared.extensions
    )
    this.#live.set(pool, key)
    channels.poolMade.publish({ tenant: tenant.id })
    return pool
  }

  #openPool (url: string): pg.Pool {
    const { connectTimeout, pool: { max }, idle } = this.#tenants
    return this.#shared.budget.openPool(url, { max, idleTimeout: idle, acquireTimeout: connectTimeout })
  }

  async #retire (pool: TenantPool): Promise<void> {
    await pool.retire()
    this.#shared.budget.forget(pool.pool)
    const key = this.#live.get(pool)
    this.#live.delete(pool)
    if (key !== undefined) channels.poolEvicted.publish({ tenant: key.slice(0, key.indexOf(' ')) })
  }
}
