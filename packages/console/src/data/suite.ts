import type { Tenant, TenantRef } from '@fastify-tenancy/core'
import type { FastifyInstance } from 'fastify'

/** The parts of `app.tenancy` that the console reads. */
export interface ConsoleTenancy {
  health(): SuiteHealth
  invalidate(ref: TenantRef): Promise<void>
  /** There where telemetry is. The first call begins the count. */
  usage?(options: { readonly top: number }): CountedReport
}

type State = 'ok' | 'degraded' | 'down'

/** What `app.tenancy.health()` says. */
export interface SuiteHealth {
  readonly status: State
  readonly down: readonly string[]
  readonly registry: State
  readonly shards: Readonly<Record<string, State>>
  readonly limits: {
    readonly file: string
    readonly status: 'ok' | 'stale'
    readonly problem: string | undefined
    readonly loadedAt: Date
  } | undefined
  readonly resolver: {
    readonly status: 'ok' | 'degraded'
    readonly tenants: number
    readonly unknown: number
    readonly registryReads: number
    readonly registryFailures: number
    readonly droppedRecords: number
  }
  readonly database: {
    readonly connections: number
    readonly waiting: number
    readonly isolationLevel?: number | undefined
  }
  readonly redis: { readonly status: State; readonly breaker: 'closed' | 'half-open' | 'open' } | undefined
}

/** What one tenant used since the count began. Times are in milliseconds. */
export interface CountedUsage {
  readonly id: string
  readonly slug: string
  readonly requests: number
  readonly refusals: number
  readonly failedStatements: number
  readonly databaseTime: number
  readonly databaseWait: number
  readonly cacheHits: number
  readonly cacheMisses: number
}

/** What `app.tenancy.usage()` says. */
export interface CountedReport {
  /** Milliseconds since 1970. */
  readonly since: number
  readonly tenants: readonly CountedUsage[]
  readonly other: CountedUsage
}

/** The limits of one tenant, as `app.tenantRateLimit.limitsFor()` gives them. */
export interface ShownLimits {
  readonly rpm: number | 'unlimited'
  readonly burst: number | undefined
  readonly concurrency: number | undefined
  readonly perClient: number | undefined
}

/**
 * The parts of the application that the console reads. Plugins of the suite meet at decorators,
 * never in an import.
 */
export interface ConsoleApp {
  readonly tenancy: ConsoleTenancy
  /** Absent where `rateLimit` is off. */
  readonly tenantRateLimit?: { limitsFor(tenant: Tenant): ShownLimits }
}

/** The application as the console reads it. */
export function consoleApp (app: FastifyInstance): ConsoleApp {
  return app as unknown as ConsoleApp
}
