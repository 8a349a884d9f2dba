import type { Tenant } from '@fastify-tenancy/core'
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

/** What tenants' databases have in common with the shards. */
interface SharedParts {
  readonly budget: ConnectionBudget
  /** The schemas of extensions, by the default shard. */
  readonly extensions: () => readonly string[]
}

/**
 * The databases of tenants that have one of their own: a small pool for each that is in use, the
 * least recently used closed for the next. A pool is never closed under anybody: it leaves the
 * list, and ends when its last user has.
 */
export class TenantPoolCache {
  readonly #options: ResolvedDatabaseOptions
  readonly #tenants: ResolvedTenantsOptions
  readonly #shared: SharedParts
  readonly #pools: LRUCache<string, Promise<TenantPool>>
  // Those that have left the list and have not ended yet, too.
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
   * Borrows a connection to a tenant's database. The borrower is made by `make`, which gets the
   * pool's guard.
   */
  async acquire (tenant: Tenant, make: (pool: TenantPool) => ConnectionOwner): Promise<TenantConnection> {
    for (;;) {
      const pool = await this.#poolOf(tenant)
      // Evicted between the look-up and here: the next look-up finds or makes another.
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
    // A tenant that was moved to another database has another key, and so a new pool.
    const key = `${tenant.id} ${databaseNameOf(tenant)}`
    const known = this.#pools.get(key)
    if (known !== undefined) return known
    // Put down before it is awaited: of two first requests the second finds the first one's.
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
    // An embedded database is its folder's only process: the one that was evicted must be gone
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
    return pool
  }

  #openPool (url: string): pg.Pool {
    const { connectTimeout, pool: { max }, idle } = this.#tenants
    return this.#shared.budget.openPool(url, { max, idleTimeout: idle, acquireTimeout: connectTimeout })
  }

  async #retire (pool: TenantPool): Promise<void> {
    await pool.retire()
    this.#shared.budget.forget(pool.pool)
    this.#live.delete(pool)
  }
}
