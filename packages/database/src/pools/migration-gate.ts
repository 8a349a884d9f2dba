import { TenantNotReadyError } from '@fastify-tenancy/core'
import { SetupInvalidError } from '@fastify-tenancy/postgres'
import { sqlState } from '@fastify-tenancy/postgres/client'
import { LRUCache } from 'lru-cache'

import type { ConnectionPool } from '../connection/pool.ts'

/**
 * How many tenants are remembered to have passed; one that was forgotten is asked for once more.
 */
const max = 100_000

/**
 * Keeps tenants waiting whose tables lack the migration that this version of the application needs. A tenant's place is asked
 * once, before its first statement; that a migration has run is remembered for as long as the process lives.
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
   * @param place of the tenant, so that one who was moved is asked for again
   * @throws FST_TENANCY_TENANT_NOT_READY, and what its pool would throw
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
      // No ledger, or none that this login may ask.
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
