import { catalogChannel } from '@fastify-tenancy/core/keys'
import { Throttle } from '@fastify-tenancy/core/throttle'
import type { DatabaseRuntime } from '@fastify-tenancy/database'
import type { TenancyRedis } from '@fastify-tenancy/redis'

/** How often prepared statements are dropped: any client of Redis can publish a message. */
const rate = { burst: 5, everyMs: 10_000 }

/**
 * Drops prepared statements when `migrate` announces changed tables through Redis. Works also
 * without LISTEN.
 *
 * @returns the function that ends it
 */
export async function watchCatalog (
  redis: TenancyRedis | undefined,
  database: Pick<DatabaseRuntime, 'dropPreparedNames'>
): Promise<() => Promise<void>> {
  if (redis === undefined) return async () => {}
  const forgetting = new Throttle(() => {
    database.dropPreparedNames()
  }, rate)
  const forget = (): void => {
    forgetting.call()
  }
  const stop = await redis.subscribe(catalogChannel, forget, forget)
  return async () => {
    forgetting.stop()
    await stop()
  }
}
