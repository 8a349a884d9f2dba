import { channel, tracingChannel } from 'node:diagnostics_channel'

/**
 * The events of the suite. Publishers check `hasSubscribers` before they create a payload, so an
 * event without listeners costs nothing. The page packages/telemetry/docs/channels.md is written
 * from this file.
 */

/** A channel of `node:diagnostics_channel` with typed messages. */
export interface EventChannel<Event> {
  readonly name: string | symbol
  readonly hasSubscribers: boolean
  publish(event: Event): void
  subscribe(listener: (event: Event) => void): void
  unsubscribe(listener: (event: Event) => void): boolean
}

/** A tracing channel of `node:diagnostics_channel` whose context is the event. */
export interface TraceChannel<Event> {
  readonly hasSubscribers: boolean
  readonly start: EventChannel<Event>
  readonly asyncEnd: EventChannel<Event>
  readonly error: EventChannel<Event>
  tracePromise<Result>(work: () => Promise<Result>, event: Event): Promise<Result>
}

/** A tenant in an event. */
export interface EventTenant {
  readonly id: string
  readonly slug: string
  readonly isolation: string
}

/**
 * The tenant of a request was found. Published in the request's async context, before the limiter
 * and the handler.
 */
export interface ResolvedEvent {
  readonly tenant: EventTenant
  /** The strategy that found it: `'subdomain'`, `'domain'`, `'header'`, `'path'`, `'claim'`, … */
  readonly source: string
  /** Fastify's request. */
  readonly request: object
}

/** A request was refused before its handler, for another reason than a limit. */
export interface RefusedEvent {
  /** Such as `'FST_TENANCY_TENANT_UNKNOWN'`. */
  readonly code: string
  readonly statusCode: number
  /** Undefined if the request names no known tenant. */
  readonly tenant: EventTenant | undefined
  readonly request: object
}

/**
 * A request was answered, or its client left. Refused requests and requests of `'off'` routes count
 * too.
 */
export interface RequestEvent {
  readonly tenant: EventTenant | undefined
  /** The route's mode. */
  readonly mode: 'required' | 'optional' | 'off'
  /** The pattern of the route; undefined if no route matches. */
  readonly route: string | undefined
  readonly method: string
  /** 499 if the client left before the reply. */
  readonly statusCode: number
  /** Milliseconds; undefined if the client left before the reply. */
  readonly duration: number | undefined
  readonly request: object
}

/** A request was over a limit: answered with 429, or let through if `mode` is `'report'`. */
export interface LimitedEvent {
  /** Undefined if a client address without a tenant is limited. */
  readonly tenant: EventTenant | undefined
  /** The limit: `'tenant'`, `'burst'`, `'concurrency'`, `'address'`, … */
  readonly limit: string
  readonly mode: 'enforce' | 'report'
  readonly request: object
}

/** A part of the suite stopped answering, or answers too slowly. */
export interface DegradedEvent {
  /** `'registry'`, `'redis'`, `'limits file'` or `'shard <name>'`. */
  readonly part: string
}

/** A degraded part answers again. */
export interface RecoveredEvent {
  readonly part: string
}

/**
 * One statement of a tenant, from its start to its last row. A TracingChannel: `start`, `asyncEnd`,
 * `error`.
 */
export interface QueryEvent {
  readonly tenant: EventTenant
  /** The statement's text, without the values of its parameters. */
  readonly text: string
  /** The first keyword in upper case: `'SELECT'`, `'INSERT'`, `'COMMIT'`, … */
  readonly operation: string
  /**
   * Milliseconds that the caller waited for a connection; 0 for later statements on the same
   * connection.
   */
  readonly wait: number
  /** Milliseconds that the statement took. Set at the end. */
  duration: number
  /** Rows returned or changed. Set at the end. */
  rows: number
  /** Why the statement failed. */
  error?: unknown
}

/** A statement was not sent, because it could not be proved to stay within its tenant. */
export interface QueryRefusedEvent {
  readonly tenant: EventTenant
  /** Empty if strategy `row` refused the query before it had a text. */
  readonly text: string
  readonly reason: string
}

/** The tripwire stopped a row of another tenant. */
export interface IsolationBreachEvent {
  /** The id of the tenant whose work it was. */
  readonly tenant: string
}

/** A pool of a tenant's own database was opened. */
export interface PoolMadeEvent {
  readonly tenant: string
}

/**
 * A pool of a tenant's own database was closed, because it was unused or the least recently used.
 */
export interface PoolEvictedEvent {
  readonly tenant: string
}

/** The transaction of a request or run was rolled back. */
export interface RolledBackEvent {
  readonly tenant: EventTenant
}

/** A value of the cache was read. */
export interface CacheEvent {
  readonly tenant: EventTenant
  readonly isHit: boolean
}

/** Work across tenants began, after its audit record was written. */
export interface BypassEvent {
  readonly reason: string
  readonly actor: string
  readonly write: boolean
}

/** A step of a tenant's creation, move, deletion, … is done. */
export interface LifecycleStepEvent {
  readonly operation: string
  readonly tenant: string
  readonly step: string
}

/** A migration of the shared schema or of one tenant is done. */
export interface MigrationStepEvent {
  /** Undefined for a migration of the shared schema. */
  readonly tenant: string | undefined
  readonly step: string
}

export const channels: {
  readonly resolved: EventChannel<ResolvedEvent>
  readonly refused: EventChannel<RefusedEvent>
  readonly request: EventChannel<RequestEvent>
  readonly limited: EventChannel<LimitedEvent>
  readonly degraded: EventChannel<DegradedEvent>
  readonly recovered: EventChannel<RecoveredEvent>
  readonly query: TraceChannel<QueryEvent>
  readonly queryRefused: EventChannel<QueryRefusedEvent>
  readonly isolationBreach: EventChannel<IsolationBreachEvent>
  readonly poolMade: EventChannel<PoolMadeEvent>
  readonly poolEvicted: EventChannel<PoolEvictedEvent>
  readonly rolledBack: EventChannel<RolledBackEvent>
  readonly cache: EventChannel<CacheEvent>
  readonly bypass: EventChannel<BypassEvent>
  readonly lifecycleStep: EventChannel<LifecycleStepEvent>
  readonly migrationStep: EventChannel<MigrationStepEvent>
} = {
  resolved: events('resolved'),
  refused: events('refused'),
  request: events('request'),
  limited: events('limited'),
  degraded: events('degraded'),
  recovered: events('recovered'),
  query: tracingChannel('fastify-tenancy:query') as unknown as TraceChannel<QueryEvent>,
  queryRefused: events('query-refused'),
  isolationBreach: events('isolation-breach'),
  poolMade: events('pool-made'),
  poolEvicted: events('pool-evicted'),
  rolledBack: events('rolled-back'),
  cache: events('cache'),
  bypass: events('bypass'),
  lifecycleStep: events('lifecycle-step'),
  migrationStep: events('migration-step')
}

function events<Event> (name: string): EventChannel<Event> {
  return channel(`fastify-tenancy:${name}`) as unknown as EventChannel<Event>
}
