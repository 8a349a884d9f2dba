import { defineError, type TenancyErrorConstructor } from '@fastify-tenancy/core'

/** 500: the value cannot be stored: too large, not serializable, or not a number where one is incremented. */
export const CacheValueError: TenancyErrorConstructor = defineError(
  'FST_TENANCY_CACHE_VALUE_REFUSED',
  500,
  'This value cannot be cached'
)
