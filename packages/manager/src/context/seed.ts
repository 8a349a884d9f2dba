import type { TenantRecord } from '@fastify-tenancy/core'
import { TenantScope } from '@fastify-tenancy/core/scope'
import { openDatabase, type DatabaseRuntime, type TenantKysely } from '@fastify-tenancy/database'
import type { ResolvedDatabaseOptions } from '@fastify-tenancy/database/options'
import { isEmbedded } from '@fastify-tenancy/postgres/client'

import type { ShardPools } from './shard-pools.ts'

/**
 * Inserts a new tenant's first rows as the tenant: `db` is like `request.db`, in one transaction.
 */
export type Seed = (input: { readonly tenant: TenantRecord; readonly db: TenantKysely }) => Promise<void>

/** The application's database, opened at its first use. */
export class ApplicationDatabase {
  readonly #options: ResolvedDatabaseOptions
  readonly #shards: ShardPools
  #opening: Promise<DatabaseRuntime> | undefined

  constructor (options: ResolvedDatabaseOptions, shards: ShardPools) {
    this.#options = options
    this.#shards = shards
  }

  /** Runs `work` in one transaction with a tenant's handle, whatever the tenant's status. */
  async asTenant (tenant: TenantRecord, work: (db: TenantKysely) => Promise<void>): Promise<void> {
    const database = await (this.#opening ??= this.#open())
    const scope = new TenantScope(tenant, silent)
    try {
      await database.forScope(scope).transaction().execute(work)
    } finally {
      scope.end()
    }
  }

  async close (): Promise<void> {
    const database = await this.#opening?.catch(() => undefined)
    await database?.close()
  }

  async #open (): Promise<DatabaseRuntime> {
    const { database } = this.#options
    // Reuses the shard's pool, because opening an embedded URL again opens another database.
    const url = typeof database.url === 'string' && isEmbedded(database.url)
      ? this.#shards.get('default')
      : database.url
    const opened = openDatabase({ ...this.#options, database: { ...database, url } })
    try {
      await opened.boot()
      return opened
    } catch (error) {
      this.#opening = undefined
      await opened.close()
      throw error
    }
  }
}

const silent = { info () {}, warn () {}, error () {} }
