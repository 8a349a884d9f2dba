import { fromEnvelope, TenantUnknownError, toEnvelope, type TenantRef, type TenantRegistry, type TenantWork,
  type UsageReport } from '@fastify-tenancy/core'
import { checkOptions, positiveInteger } from '@fastify-tenancy/core/options'
import { resolveTenantRef, statusRefusal } from '@fastify-tenancy/core/scope'
import { usageMeter } from '@fastify-tenancy/core/usage'
import type { ServerStatus, DatabaseHealth, GlobalKysely, SystemAccessOptions, SystemWork,
  DatabaseRuntime } from '@fastify-tenancy/database'
import type { LimitsFileHealth } from '@fastify-tenancy/rate-limit'
import type { RedisHealth, TenancyRedis } from '@fastify-tenancy/redis'
import type { ResolverHealth, TenantResolver } from '@fastify-tenancy/resolver'
import * as v from 'valibot'

import { resolveForEachOptions, resolveRunOptions, type ForEachOptions,
  type RunOptions } from './call-options.ts'
import { forEach, type ForEachResult } from './for-each.ts'
import type { Runs } from './runs.ts'

/** The health of the suite's parts, from events of the last seconds. */
export interface TenancyHealth {
  /**
   * `'down'`: no database answers. `'degraded'`: another part does not answer, and requests are
   * still served.
   */
  readonly status: 'ok' | 'degraded' | 'down'
  /** The parts that do not work: `'registry'`, `'shard eu'`, `'redis'`, `'limits file'`. */
  readonly down: readonly string[]
  readonly registry: ServerStatus
  readonly shards: Readonly<Record<string, ServerStatus>>
  /** Undefined without a limits file. */
  readonly limits: LimitsFileHealth | undefined
  readonly resolver: ResolverHealth
  readonly database: DatabaseHealth
  /** Undefined if no redis is configured. */
  readonly redis: RedisHealth | undefined
}

/** The opened parts of the suite. */
interface TenancyParts {
  readonly resolver: TenantResolver
  readonly registry: TenantRegistry
  readonly database: DatabaseRuntime
  readonly redis: TenancyRedis | undefined
  readonly runs: Runs
  /** Undefined if the limits do not come from a file. */
  readonly limits?: (() => LimitsFileHealth | undefined) | undefined
}

/** Options of `app.tenancy.usage()`. */
export interface UsageOptions {
  /** How many of the busiest tenants are listed separately. @default 20 */
  readonly top?: number
}

const usageSchema = v.strictObject({ top: v.optional(positiveInteger, 20) }, 'must be an object')

/** The API of the suite outside requests: `app.tenancy`. */
export class Tenancy {
  readonly #parts: TenancyParts
  #isClosing = false
  #stopUsage: (() => void) | undefined

  constructor (parts: TenancyParts) {
    this.#parts = parts
  }

  /**
   * Does work for one tenant outside a request: a job, a script. The tenant is looked up and its
   * status checked as for a request. The handles end with the run; `signal` is aborted when the
   * tenant is suspended, deleted or moved.
   *
   * ```ts
   * await app.tenancy.run({ slug: 'acme' }, async ({ db, log }) => {
   *   const { numDeletedRows } = await db.deleteFrom('drafts').executeTakeFirst()
   *   log.info({ drafts: Number(numDeletedRows) }, 'drafts removed')
   * })
   * ```
   *
   * @throws FST_TENANCY_TENANT_UNKNOWN, FST_TENANCY_TENANT_SUSPENDED, FST_TENANCY_TENANT_NOT_READY,
   * FST_TENANCY_REGISTRY_UNAVAILABLE
   */
  async run<T> (ref: TenantRef, fn: (work: TenantWork) => T | Promise<T>, options?: RunOptions): Promise<T> {
    const { transaction, allow } = resolveRunOptions(options)
    const tenant = await this.#parts.resolver.find(resolveTenantRef(ref, 'the tenant of run()'))
    if (tenant === undefined) throw new TenantUnknownError()
    const refusal = statusRefusal(tenant.status, allow)
    if (refusal !== undefined) throw refusal
    return this.#parts.runs.run(tenant, fn, { transaction, allow })
  }

  /**
   * Does work for many tenants, several at a time, each in a separate run. The registry must be
   * able to list tenants; its login is that of `database.registryUrl`.
   *
   * @throws AggregateError of all failures after the last tenant, unless `onError` is given; the
   * signal's reason.
   */
  async forEach (options: ForEachOptions, fn: (work: TenantWork) => unknown): Promise<ForEachResult> {
    const { where, ...settings } = resolveForEachOptions(options)
    const { registry, resolver, runs } = this.#parts
    return forEach(registry.list(where), settings, async ({ id }) => {
      // The list may have been read long before this tenant's turn, so look the tenant up again.
      const tenant = await resolver.find({ id })
      if (tenant === undefined || !where.status.includes(tenant.status)) return false
      await runs.run(tenant, fn, { transaction: false, allow: where.status, signal: settings.signal })
      return true
    })
  }

  /**
   * The global tables (users, sessions, memberships), which no tenant sees, accessed with a role
   * for these tables only. Each statement is a separate transaction, outside any request's
   * transaction.
   */
  get global (): GlobalKysely {
    return this.#parts.database.global
  }

  /**
   * Does work across tenants after its audit record is written. It uses a separate login, is
   * read-only unless `write` is given, and is not part of a request's transaction. The handle
   * closes when `fn` has settled.
   *
   * ```ts
   * const usage = await app.tenancy.asSystem(
   *   { reason: 'monthly invoices', actor: 'billing job' },
   *   ({ db }) =>
   *     db.selectFrom('projects').select(['tenant_id', db.fn.countAll().as('projects')])
   *       .groupBy('tenant_id').execute()
   * )
   * ```
   *
   * @throws FST_TENANCY_OPTION_INVALID without `database.systemUrl` or `audit`;
   * FST_TENANCY_AUDIT_FAILED
   */
  asSystem<T> (options: SystemAccessOptions, fn: (work: SystemWork) => T | Promise<T>): Promise<T> {
    return this.#parts.database.asSystem(options, fn)
  }

  /**
   * Returns the envelope of the given or current tenant for the payload of a job: `{ v: 1, tenant:
   * '<id>' }`.
   */
  readonly toEnvelope: typeof toEnvelope = toEnvelope

  /** Returns the tenant that an envelope names, for {@link run}. */
  readonly fromEnvelope: typeof fromEnvelope = fromEnvelope

  /**
   * Makes every process look a tenant up again, after writes to the registry that bypassed the
   * manager.
   */
  async invalidate (ref: TenantRef): Promise<void> {
    return this.#parts.resolver.invalidate(resolveTenantRef(ref, 'the tenant of invalidate()'))
  }

  /**
   * Whether a host belongs to a tenant, for servers that ask before they obtain a certificate.
   *
   * @throws FST_TENANCY_HOST_INVALID if the host is not a string, FST_TENANCY_REGISTRY_UNAVAILABLE,
   * and FST_TENANCY_RATE_LIMITED after more than 300 unknown hosts in a minute.
   */
  isKnownHost (host: string): Promise<boolean> {
    return this.#parts.resolver.isKnownHost(host)
  }

  /**
   * Returns the health of the parts, from traffic of the last seconds and from a probe every one or
   * two seconds without traffic. The call itself sends nothing.
   */
  health (): TenancyHealth {
    const resolver = this.#parts.resolver.health()
    const database = this.#parts.database.health()
    const redis = this.#parts.redis?.health()
    const limits = this.#parts.limits?.()
    const registry = resolver.registry === 'down' ? 'down' : database.registry
    const down = [
      ...(registry === 'ok' ? [] : ['registry']),
      ...Object.entries(database.shards).filter(([, state]) => state !== 'ok').map(([name]) =>
        `shard ${name}`
      ),
      ...(redis === undefined || redis.status === 'ok' ? [] : ['redis']),
      ...(limits === undefined || limits.status === 'ok' ? [] : ['limits file'])
    ]
    // Without Redis the suite still serves requests, more slowly. Without any database it does not.
    const status = database.status === 'down'
      ? 'down'
      : down.length > 0 || resolver.status !== 'ok'
      ? 'degraded'
      : 'ok'
    return { status, down, registry, shards: database.shards, limits, resolver, database, redis }
  }

  /**
   * Whether the process is alive, for a liveness probe. Databases do not count, because a restart
   * cannot repair them.
   */
  isLive (): boolean {
    return true
  }

  /**
   * Whether the process should receive requests, for a readiness probe: false during the close and
   * while no database answers. One failed shard does not count, because tenants of other shards are
   * still served.
   */
  isReady (): boolean {
    return !this.#isClosing && this.health().status !== 'down'
  }

  /**
   * Returns the usage of tenants since the first call, the busiest first. The first call starts the
   * count, so an application that never calls it pays nothing. All applications of the process are
   * counted together.
   *
   * @throws FST_TENANCY_OPTION_INVALID
   */
  usage (options: UsageOptions = {}): UsageReport {
    const { top } = checkOptions(usageSchema, options, 'the options of usage()')
    this.#stopUsage ??= usageMeter.start()
    return usageMeter.report(top)
  }

  /** Ends {@link isReady} and the count of {@link usage}. */
  beginClose (): void {
    this.#stopUsage?.()
    this.#isClosing = true
  }
}
