import type { TenantRegistry } from '@fastify-tenancy/core'

import type { ApplicationRedis } from './application-redis.ts'
import type { Locks } from './locks.ts'
import type { ResolvedManagerOptions } from './options.ts'
import type { ApplicationDatabase } from './seed.ts'
import type { ShardPools } from './shard-pools.ts'

/** Options, connections and services that every part of the manager uses. */
export interface ManagerContext {
  readonly options: ResolvedManagerOptions
  readonly shards: ShardPools
  /** The registry on the default shard's pool. */
  readonly registry: TenantRegistry
  readonly locks: Locks
  readonly application: ApplicationDatabase
  readonly redis: ApplicationRedis
  /** The person or job that the audit names. Undefined: the login alone. */
  readonly actor?: string
}
