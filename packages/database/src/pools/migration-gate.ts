import { TenantNotReadyError } from '@fastify-tenancy/core'
import { SetupInvalidError } from '@fastify-tenancy/postgres'
import { sqlState } from '@fastify-tenancy/postgres/client'
import { LRUCache } from 'lru-cache'

import type { ConnectionPool } from '../connection/pool.ts'

/** Number of tenants that are cached as migrated. An evicted entry costs one more lookup. */
const max = 100_000

/**
 * Refuses tenants whose tables lack the migration that this version of the application needs. Each
 * placement is checked once, before the tenant's first statement. A success is cached for the life
 * of the process.
 *
 * ```sql
 * select tenancy.has_migration('7f3c…', '014_invoices')
 * ```
 */
export class MigrationGate {
  readonly #wanted: string
  readonly #passed = new LRUCache<string, Promise<void>>({ max })

  /** @param wanted the migration's name */
  constructor (wanted: string) {
    this.#wanted = wanted
  }

  /**
   * @param place the tenant's placement, so that a moved tenant is checked again
   * @throws FST_TENANCY_TENANT_NOT_READY, and the errors of its pool
   */
  pass (tenant: string, place: string, pool: ConnectionPool): Promise<void> {
    const key = `${tenant} ${place}`
    const known = this.#passed.get(key)
    if (known !== undefined) return known
    const asking = this.#ask(tenant, pool)
    this.#passed.set(key, asking)
    asking.catch(() => {
      if (this.#passed.peek(key) === asking) this.#passed.delete(key)
    })
    return asking
  }

  async #ask (tenant: string, connections: ConnectionPool): Promise<void> {
    const { rows: [row] } = await connections.lookUps.query<{ there: boolean }>(
      'select tenancy.has_migration($1, $2) as there',
      [tenant, this.#wanted]
    ).catch((error: unknown) => {
      // True if the ledger does not exist or this login may not read it.
      if (!['42883', '3F000', '42501'].includes(sqlState(error) ?? '')) throw connections.explain(error)
      throw new TenantNotReadyError(undefined, { cause: error })
    })
    if (row?.there !== true)
      throw new TenantNotReadyError(undefined, {
        cause: new SetupInvalidError(
          `the tenant's tables lack migration '${this.#wanted}': run \`tenancy migrate\``
        )
      })
  }
}
