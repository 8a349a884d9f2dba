export * from './augment.ts'
export type { IncrementOptions, SetOptions, WrapOptions } from './call-options.ts'
export { CacheValueError } from './errors.ts'
export type { TenantCacheHandle } from './handle.ts'
export type { KeyvEntry, KeyvLike } from './keyv.ts'
export { resolveCacheOptions, type CacheOptions, type CacheSerializer, type LocalCacheOptions,
  type ResolvedCacheOptions } from './options.ts'
export { openCache, type CacheHealth, type OpenCache, type TenantCaches } from './open-cache.ts'
export { tenantCache, tenantCache as default } from './plugin.ts'
