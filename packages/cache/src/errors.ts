import { defineError, type TenancyErrorConstructor } from '@fastify-tenancy/core/errors'

/**
 * 500: the value cannot be stored. It is too large, not serializable, or not a number that can be
 * incremented.
 */
export const CacheValueError: TenancyErrorConstructor = defineError(
  'FST_TENANCY_CACHE_VALUE_REFUSED',
  500,
  'This value cannot be cached'
)
