import { defineError, type TenancyErrorConstructor } from '@fastify-tenancy/core/errors'

/**
 * 503: Redis is down, frozen, read-only or not yet connected. It is unknown whether the command
 * took effect.
 */
export const RedisUnavailableError: TenancyErrorConstructor = defineError(
  'FST_TENANCY_REDIS_UNAVAILABLE',
  503,
  'A store that this request needs cannot be reached at the moment',
  1
)
