import { postgresRegistry } from '@fastify-tenancy/postgres/registry'

import { ApplicationRedis } from './application-redis.ts'
import type { ManagerContext } from './context.ts'
import { Locks } from './locks.ts'
import type { ResolvedManagerOptions } from './options.ts'
import { ApplicationDatabase } from './seed.ts'
import { ShardPools } from './shard-pools.ts'

/** Opens the pools of checked options. Nothing connects yet. */
export function openContext (options: ResolvedManagerOptions): ManagerContext {
  const shards = new ShardPools(options.database)
  return {
    options,
    shards,
    redis: new ApplicationRedis(options, shards),
    registry: postgresRegistry(shards.get('default')),
    locks: new Locks(() => shards.get('default')),
    application: new ApplicationDatabase(options.application, shards)
  }
}
