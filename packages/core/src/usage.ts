import { channels, type CacheEvent, type EventTenant, type LimitedEvent, type QueryEvent, type RefusedEvent,
  type RequestEvent } from './channels.ts'

/** What one tenant used since the count began. */
export interface TenantUsage {
  readonly id: string
  readonly slug: string
  readonly requests: number
  /** Requests refused by the resolver, by a limit, or with 503. */
  readonly refusals: number
  readonly statements: number
  readonly failedStatements: number
  /** Milliseconds of statements. */
  readonly databaseTime: number
  /** Milliseconds that callers waited for connections. */
  readonly databaseWait: number
  readonly rows: number
  readonly cacheHits: number
  readonly cacheMisses: number
}

/**
 * {@link TenantUsage} of the busiest tenants, of all other tenants together, and of requests
 * without a tenant.
 */
export interface UsageReport {
  /** Milliseconds since 1970. */
  readonly since: number
  readonly tenants: readonly TenantUsage[]
  /** The sum of all other tenants. Its id and slug are `''`. */
  readonly other: TenantUsage
  /** Requests of `'off'` routes and to hosts that name no tenant. Its id and slug are `''`. */
  readonly none: TenantUsage
}

type Row = { -readonly [Field in keyof TenantUsage]: TenantUsage[Field] }

/**
 * Tenants that are counted separately. Beyond this cap the less busy half is added to the others.
 */
const most = 2_000

const busy = 503

/**
 * Counts the usage of tenants from the channels of the process, over all its applications. Memory
 * is bounded: with too many tenants, the less busy half is added to the sum of the others.
 */
export class UsageMeter {
  #tenants = new Map<string, Row>()
  #other = row('', '')
  #none = row('', '')
  #since = Date.now()
  #users = 0

  /**
   * Starts counting, from zero if no other caller counts. @returns an idempotent function that ends
   * it
   */
  start (): () => void {
    if (this.#users++ === 0) this.#subscribe()
    let isStarted = true
    return () => {
      if (!isStarted) return
      isStarted = false
      if (--this.#users === 0) this.#unsubscribe()
    }
  }

  /** Returns the busiest `top` tenants by time in the database, then by refusals and requests. */
  report (top: number): UsageReport {
    const sorted = [...this.#tenants.values()].toSorted(busiest)
    const other = { ...this.#other }
    for (const less of sorted.slice(top)) addUsage(other, less)
    return {
      since: this.#since,
      tenants: sorted.slice(0, top).map(usage => ({ ...usage })),
      other,
      none: { ...this.#none }
    }
  }

  #subscribe (): void {
    this.#tenants = new Map()
    this.#other = row('', '')
    this.#none = row('', '')
    this.#since = Date.now()
    channels.request.subscribe(this.#onRequest)
    channels.refused.subscribe(this.#onRefused)
    channels.limited.subscribe(this.#onLimited)
    channels.query.asyncEnd.subscribe(this.#onQuery)
    channels.cache.subscribe(this.#onCache)
  }

  #unsubscribe (): void {
    channels.request.unsubscribe(this.#onRequest)
    channels.refused.unsubscribe(this.#onRefused)
    channels.limited.unsubscribe(this.#onLimited)
    channels.query.asyncEnd.unsubscribe(this.#onQuery)
    channels.cache.unsubscribe(this.#onCache)
  }

  readonly #onRequest = ({ tenant, statusCode }: RequestEvent): void => {
    const usage = this.#of(tenant)
    usage.requests++
    if (statusCode === busy) usage.refusals++
  }

  readonly #onRefused = ({ tenant, statusCode }: RefusedEvent): void => {
    if (statusCode !== busy) this.#of(tenant).refusals++
  }

  readonly #onLimited = ({ tenant, mode }: LimitedEvent): void => {
    if (mode === 'enforce') this.#of(tenant).refusals++
  }

  readonly #onQuery = ({ tenant, duration, wait, rows, error }: QueryEvent): void => {
    const usage = this.#of(tenant)
    usage.statements++
    if (error !== undefined) usage.failedStatements++
    usage.databaseTime += duration
    usage.databaseWait += wait
    usage.rows += rows
  }

  readonly #onCache = ({ tenant, isHit }: CacheEvent): void => {
    const usage = this.#of(tenant)
    if (isHit) usage.cacheHits++
    else usage.cacheMisses++
  }

  #of (tenant: EventTenant | undefined): Row {
    if (tenant === undefined) return this.#none
    const known = this.#tenants.get(tenant.id)
    if (known !== undefined) return known
    if (this.#tenants.size >= most) this.#prune()
    const made = row(tenant.id, tenant.slug)
    this.#tenants.set(tenant.id, made)
    return made
  }

  // Removes half of the tenants at a time, so that one sort serves a thousand new tenants.
  #prune (): void {
    const sorted = [...this.#tenants.values()].toSorted(busiest)
    for (const less of sorted.slice(most / 2)) addUsage(this.#other, less)
    this.#tenants = new Map(sorted.slice(0, most / 2).map(usage => [usage.id, usage]))
  }
}

/** The meter of the process, because the channels belong to the process too. */
export const usageMeter: UsageMeter = new UsageMeter()

function row (id: string, slug: string): Row {
  return {
    id,
    slug,
    requests: 0,
    refusals: 0,
    statements: 0,
    failedStatements: 0,
    databaseTime: 0,
    databaseWait: 0,
    rows: 0,
    cacheHits: 0,
    cacheMisses: 0
  }
}

/** A counted field of {@link TenantUsage}. */
export type UsageCounter = Exclude<keyof TenantUsage, 'id' | 'slug'>

/** The counted fields of {@link TenantUsage}. */
export const usageCounters: readonly UsageCounter[] = ['requests', 'refusals', 'statements',
  'failedStatements', 'databaseTime', 'databaseWait', 'rows', 'cacheHits', 'cacheMisses']

/** Adds one tenant's usage to a sum. */
export function addUsage (
  sum: { -readonly [Field in keyof TenantUsage]: TenantUsage[Field] },
  usage: TenantUsage
): void {
  for (const counter of usageCounters) sum[counter] += usage[counter]
}

function busiest (a: TenantUsage, b: TenantUsage): number {
  return b.databaseTime - a.databaseTime || b.refusals - a.refusals || b.requests - a.requests
}
