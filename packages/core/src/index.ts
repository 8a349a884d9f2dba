export { boundsProblem, nameProblem, planProblem, settingsProblem, tenantBounds } from './bounds.ts'
export { normalDomain } from './domain.ts'
export { fromEnvelope, toEnvelope, type TenantEnvelope } from './envelope.ts'
export * from './errors.ts'
export { parseHost } from './host.ts'
export { HostPatterns, patternOf, slugPatternProblem, type Misreading } from './host-pattern.ts'
export { idProblem } from './id.ts'
export { addressKey, cacheChannel, catalogChannel, installationKey, installationKeys, installationProblem,
  invalidationChannel, lookupKey, lookupLockKey, processesKey, pulseKey, roleName, tenantIdentifier,
  tenantKey, tenantKeyPrefix, tenantRole, unreadyDatabase, usageAnswerChannel, usageChannel,
  type KeySpace } from './key.ts'
export { memoryRegistry } from './memory-registry.ts'
export { bool, checkOptions, duration, explain, fn, instance, nonEmptyString, oneOf, positiveInteger,
  secretSchema, timeout } from './options.ts'
export { printable } from './printable.ts'
export type { Register } from './register.ts'
export type { EndWatch, TenantChange, TenantChanges, TenantFilter, TenantRegistry } from './registry.ts'
export { resolveRouteTenancy, type ResolvedRouteTenancy, type RouteTenancy,
  type TenancyMode } from './route.ts'
export { currentScope, currentTenant, RequestTenancy, runInScope, TenantScope, type HandleOf,
  type RequestHandles, type ScopeLogger, type TenantWork } from './scope.ts'
export { ScopeTransaction } from './scope-transaction.ts'
export { deriveKey, Seal, signatureLength, type Sealed } from './seal.ts'
export { reservedSlugs, slugProblem } from './slug.ts'
export { channels, type BypassEvent, type CacheEvent, type DegradedEvent, type EventChannel, type EventTenant,
  type IsolationBreachEvent, type LifecycleStepEvent, type LimitedEvent, type MigrationStepEvent,
  type PoolEvictedEvent, type PoolMadeEvent, type QueryEvent, type QueryRefusedEvent, type RecoveredEvent,
  type RefusedEvent, type RequestEvent, type ResolvedEvent, type RolledBackEvent,
  type TraceChannel } from './channels.ts'
export { statusRefusal } from './status.ts'
export { toTenant, isolations, tenantStatuses, type Isolation, type Placement, type Tenant, type TenantInput,
  type TenantRecord, type TenantRef, type TenantStatus } from './tenant.ts'
export { resolveTenantRef } from './tenant-ref.ts'
export { Throttle, type ThrottleSettings } from './throttle.ts'
export { addUsage, usageCounters, UsageMeter, usageMeter, type TenantUsage, type UsageCounter,
  type UsageReport } from './usage.ts'
export { tenantWork, type HandleMaker } from './work.ts'
