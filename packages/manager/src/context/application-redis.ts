import { readInstallation } from '@fastify-tenancy/postgres/install'
import { openRedis, type TenancyRedis } from '@fastify-tenancy/redis'

import type { ResolvedManagerOptions } from './options.ts'
import type { ShardPools } from './shard-pools.ts'

/** The application's Redis, opened at its first use under the application's namespace. */
export class ApplicationRedis {
  readonly #options: Pick<ResolvedManagerOptions, 'redis' | 'namespace'>
  readonly #shards: ShardPools
  /** Whether the last publication failed. The next one then does not wait for a connection. */
  isAway = false
  #opening: Promise<TenancyRedis> | undefined

  constructor (options: Pick<ResolvedManagerOptions, 'redis' | 'namespace'>, shards: ShardPools) {
    this.#options = options
    this.#shards = shards
  }

  /**
   * Returns the client; undefined if none is configured. It may not be connected yet: `ready()`
   * waits for that.
   *
   * @throws FST_TENANCY_SETUP_INVALID if the database has no installation id, or is a copy
   */
  async get (): Promise<TenancyRedis | undefined> {
    const { redis } = this.#options
    if (redis === undefined) return undefined
    this.#opening ??= this.#open(redis).catch((error: unknown) => {
      this.#opening = undefined
      throw error
    })
    return this.#opening
  }

  async close (): Promise<void> {
    const redis = await this.#opening?.catch(() => undefined)
    if (redis !== this.#options.redis) await redis?.close()
  }

  async #open (source: NonNullable<ResolvedManagerOptions['redis']>): Promise<TenancyRedis> {
    const inside = typeof source === 'object' && 'namespace' in source ? source.namespace : undefined
    const namespace = this.#options.namespace ?? inside ?? await readInstallation(this.#shards.get('default'))
    return openRedis(source, { name: 'fastify-tenancy:manager', namespace })
  }
}
