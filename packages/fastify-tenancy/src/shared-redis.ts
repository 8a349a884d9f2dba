import type { ScopeLogger } from '@fastify-tenancy/core'
import type { DatabaseRuntime } from '@fastify-tenancy/database'
import { openRedis, type TenancyRedis } from '@fastify-tenancy/redis'

import type { ResolvedTenancyOptions } from './options.ts'

/**
 * Opens the Redis of all parts under the name of this installation: the option `namespace`, or the
 * id stored in the database.
 *
 * @returns undefined if no redis is configured
 * @throws FST_TENANCY_SETUP_INVALID if the database has no id, or is a copy of the database for
 * which the id was created
 */
export async function openSharedRedis (
  { redis, namespace, registry }: ResolvedTenancyOptions,
  database: DatabaseRuntime,
  log: ScopeLogger
): Promise<TenancyRedis | undefined> {
  if (redis === undefined) return undefined
  const isNamed = namespace !== undefined || registry !== undefined ||
    (typeof redis === 'object' && 'namespace' in redis && redis.namespace !== undefined)
  if (isNamed) return openRedis(redis, { namespace, log })
  // Booting initialises an embedded database.
  await database.boot()
  return openRedis(redis, { namespace: await database.installation(), log })
}
