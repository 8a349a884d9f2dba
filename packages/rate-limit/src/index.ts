export type * from './augment.ts'
export { checkLimits, type KeyPath } from './check-limits.ts'
export type { HeaderStyle } from './headers.ts'
export type { LimitsFileHealth } from './limits-file.ts'
export { Limits, type LimitFields, type LimitsDocument, type LimitsParts, type Rpm,
  type TenantLimits } from './limits.ts'
export type { OnStoreError, Precision } from './limiter.ts'
export { resolveRateLimitOptions, type RateLimitOptions, type ResolvedRateLimitOptions } from './options.ts'
export { parseLimits } from './parse-limits.ts'
export { tenantRateLimit as default, tenantRateLimit, type RateLimitHealth,
  type TenantRateLimit } from './plugin.ts'
