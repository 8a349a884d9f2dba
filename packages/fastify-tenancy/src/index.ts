export type * from './augment.ts'
export type { ForEachOptions, RunOptions } from './call-options.ts'
export { createTenancy, defineTenancy, type StandaloneOptions,
  type StandaloneTenancy } from './create-tenancy.ts'
export type { ForEachResult } from './for-each.ts'
export { default, tenancy } from './plugin.ts'
export type { TenancyOptions } from './options.ts'
export type { TenancyLogger } from './runs.ts'
export type { Tenancy, TenancyHealth, UsageOptions } from './tenancy.ts'
export { currentScope, currentTenant, fromEnvelope, memoryRegistry, toEnvelope, type Register,
  type RequestTenancy, type RouteTenancy, type Tenant, type TenantEnvelope, type TenantFilter, type TenantRef,
  type TenantRegistry, type TenantScope, type TenantUsage, type TenantWork,
  type UsageReport } from '@fastify-tenancy/core'
export { openPool, tableRegistry, toHttpError, type Audit, type AuditEvent, type GlobalKysely,
  type RequestDatabase, type SystemAccessOptions, type SystemKysely, type SystemWork, type TenantDatabase,
  type TenantKysely } from '@fastify-tenancy/database'

// Types that a handler or a run can return. With pnpm's layout the compiler can name only types of
// packages that an application depends on directly. Without these exports, an exported function
// with such a type fails (TS2883).
export type { CacheHealth, IncrementOptions, KeyvEntry, KeyvLike, SetOptions, TenantCacheHandle, TenantCaches,
  WrapOptions } from '@fastify-tenancy/cache'
export type { Isolation, Placement, ResolvedRouteTenancy, ScopeLogger, ScopeTransaction, TenancyError,
  TenantChange, TenantRecord, TenantStatus } from '@fastify-tenancy/core'
export type { DatabaseHealth, GlobalDatabase, ReadOnly, DatabaseRuntime,
  UntypedDatabase } from '@fastify-tenancy/database'
export type { LimitFields, LimitsDocument, LimitsFileHealth, RateLimitHealth, Rpm, TenantLimits,
  TenantRateLimit } from '@fastify-tenancy/rate-limit'
export type { RedisHealth, RedisState } from '@fastify-tenancy/redis'
export type { ResolverHealth, TenantAddress, TenantResolver } from '@fastify-tenancy/resolver'
