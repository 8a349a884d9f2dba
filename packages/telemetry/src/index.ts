export { openTelemetry, type OpenTelemetryOptions } from './open-telemetry.ts'
export { prometheus, type ObservedApp, type Prometheus, type PrometheusOptions } from './prometheus.ts'
export { channels, type BypassEvent, type CacheEvent, type DegradedEvent, type EventChannel, type EventTenant,
  type IsolationBreachEvent, type LifecycleStepEvent, type LimitedEvent, type MigrationStepEvent,
  type PoolEvictedEvent, type PoolMadeEvent, type QueryEvent, type QueryRefusedEvent, type RecoveredEvent,
  type RefusedEvent, type RequestEvent, type ResolvedEvent, type RolledBackEvent, type TenantUsage,
  type TraceChannel, type UsageReport } from '@fastify-tenancy/core'
export { usageMeter } from '@fastify-tenancy/core/usage'
