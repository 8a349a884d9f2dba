import { readInstallation } from '@fastify-tenancy/postgres/install'
import { openRedis, type TenancyRedis } from '@fastify-tenancy/redis'

import type { ResolvedManagerOptions } from './options.ts'
import type { ShardPools } from './shard-pools.ts'

/** The application's Redis, opened at its first use under the name of the application's installation. */
export class ApplicationRedis {
  readonly #options: Pick<ResolvedManagerOptions, 'redis' | 'namespace'>
  readonly #shards: ShardPools
  /** Whether Redis could not be told of the last change: the next one does not wait for it again. */
  isAway = false
  #opening: Promise<TenancyRedis> | undefined

  constructor (options: Pick<ResolvedManagerOptions, 'redis' | 'namespace'>, shards: ShardPools) {
    this.#options = options
    this.#shards = shards
  }

  /**
   * Undefined where none is configured. It may not be connected yet: `ready()` waits.
   *
   * @throws FST_TENANCY_SETUP_INVALID where the database has no installation id, or is a copy
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
