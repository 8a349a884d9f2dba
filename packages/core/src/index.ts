// What an application calls. The suite's other packages import the rest from the entries beside it.
export { channels, type BypassEvent, type CacheEvent, type DegradedEvent, type EventChannel, type EventTenant,
  type IsolationBreachEvent, type LifecycleStepEvent, type LimitedEvent, type MigrationStepEvent,
  type PoolEvictedEvent, type PoolMadeEvent, type QueryEvent, type QueryRefusedEvent, type RecoveredEvent,
  type RefusedEvent, type RequestEvent, type ResolvedEvent, type RolledBackEvent,
  type TraceChannel } from './channels.ts'
export { fromEnvelope, toEnvelope, type TenantEnvelope } from './envelope.ts'
export { ContextMissingError, HostInvalidError, OptionInvalidError, RateLimitedError,
  RegistryUnavailableError, ScopeClosedError, TenantConflictError, TenantMismatchError, TenantMissingError,
  TenantNotReadyError, TenantSuspendedError, TenantUnknownError, type TenancyError } from './errors.ts'
export { idProblem } from './id.ts'
export { memoryRegistry } from './memory-registry.ts'
export type { Register } from './register.ts'
export type { EndWatch, TenantChange, TenantChanges, TenantFilter, TenantRegistry } from './registry.ts'
export type { ResolvedRouteTenancy, RouteTenancy, TenancyMode } from './route.ts'
export { currentScope, currentTenant, type HandleOf, type RequestHandles, type RequestTenancy,
  type ScopeLogger, type TenantScope, type TenantWork } from './scope.ts'
export type { ScopeTransaction } from './scope-transaction.ts'
export { reservedSlugs, slugProblem } from './slug.ts'
export { isolations, tenantStatuses, toTenant, type Isolation, type Placement, type Tenant, type TenantInput,
  type TenantRecord, type TenantRef, type TenantStatus } from './tenant.ts'
export type { TenantUsage, UsageCounter, UsageReport } from './usage.ts'
