import { checkOptions, fromEnvelope, positiveInteger, resolveTenantRef, statusRefusal, TenantUnknownError,
  toEnvelope, type TenantRef, type TenantRegistry, type TenantWork, usageMeter,
  type UsageReport } from '@fastify-tenancy/core'
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

/** How the parts of the suite do, from what was seen in the last seconds. */
export interface TenancyHealth {
  /** `'down'`: no database answers. `'degraded'`: something else does not, and the rest is served. */
  readonly status: 'ok' | 'degraded' | 'down'
  /** What is not well, by name: `'registry'`, `'shard eu'`, `'redis'`, `'limits file'`. */
  readonly down: readonly string[]
  readonly registry: ServerStatus
  readonly shards: Readonly<Record<string, ServerStatus>>
  /** Undefined where there is no limits file. */
  readonly limits: LimitsFileHealth | undefined
  readonly resolver: ResolverHealth
  readonly database: DatabaseHealth
  /** Undefined where no redis is configured. */
  readonly redis: RedisHealth | undefined
}

/** The parts of the suite, open. */
export interface TenancyParts {
  readonly resolver: TenantResolver
  readonly registry: TenantRegistry
  readonly database: DatabaseRuntime
  readonly redis: TenancyRedis | undefined
  readonly runs: Runs
  /** Undefined where no limits are read from a file. */
  readonly limits?: (() => LimitsFileHealth | undefined) | undefined
}

/** Options of `app.tenancy.usage()`. */
export interface UsageOptions {
  /** How many of the busiest tenants are listed one by one. @default 20 */
  readonly top?: number
}

const usageSchema = v.strictObject({ top: v.optional(positiveInteger, 20) }, 'must be an object')

/** What the suite offers apart from requests: `app.tenancy`. */
export class Tenancy {
  readonly #parts: TenancyParts
  #isClosing = false
  #stopUsage: (() => void) | undefined

  constructor (parts: TenancyParts) {
    this.#parts = parts
  }

  /**
   * Does work for one tenant outside a request: a job, a script. The tenant is looked up as for a request, and its status
   * checked by the same rule. The handles end with the run; `signal` is aborted when the tenant is suspended, deleted or moved.
   *
   * ```ts
   * await app.tenancy.run({ slug: 'acme' }, async ({ db, log }) => {
   *   const { numDeletedRows } = await db.deleteFrom('drafts').executeTakeFirst()
   *   log.info({ drafts: Number(numDeletedRows) }, 'drafts removed')
   * })
   * ```
   *
   * @throws FST_TENANCY_TENANT_UNKNOWN, FST_TENANCY_TENANT_SUSPENDED, FST_TENANCY_TENANT_NOT_READY, FST_TENANCY_REGISTRY_UNAVAILABLE
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
   * Does work for many tenants, a few at a time, each in a run of its own. The registry must be able to list tenants: its login
   * is that of `database.registryUrl`.
   *
   * @throws AggregateError of all failures, once every tenant has had its turn, unless `onError` is given; the signal's reason.
   */
  async forEach (options: ForEachOptions, fn: (work: TenantWork) => unknown): Promise<ForEachResult> {
    const { where, ...settings } = resolveForEachOptions(options)
    const { registry, resolver, runs } = this.#parts
    return forEach(registry.list(where), settings, async ({ id }) => {
      // The list may have been read long before this one's turn.
      const tenant = await resolver.find({ id })
      if (tenant === undefined || !where.status.includes(tenant.status)) return false
      await runs.run(tenant, fn, { transaction: false, allow: where.status, signal: settings.signal })
      return true
    })
  }

  /**
   * The tables that no tenant sees (users, sessions, memberships), as a role that sees no other. Each statement is a transaction of
   * its own, and no part of a request's.
   */
  get global (): GlobalKysely {
    return this.#parts.database.global
  }

  /**
   * Does work across tenants, once the audit knows of it: on a login of its own, read-only unless `write` is given,
   * and no part of a request's transaction. The handle is closed when `fn` has settled.
   *
   * ```ts
   * const usage = await app.tenancy.asSystem({ reason: 'monthly invoices', actor: 'billing job' },
   *   ({ db }) => db.selectFrom('projects').select(['tenant_id', db.fn.countAll().as('projects')]).groupBy('tenant_id').execute())
   * ```
   *
   * @throws FST_TENANCY_OPTION_INVALID without `database.systemUrl` or `audit`; FST_TENANCY_AUDIT_FAILED
   */
  asSystem<T> (options: SystemAccessOptions, fn: (work: SystemWork) => T | Promise<T>): Promise<T> {
    return this.#parts.database.asSystem(options, fn)
  }

  /** Names the current tenant, or the one given, in the payload of a job: `{ v: 1, tenant: '<id>' }`. */
  readonly toEnvelope: typeof toEnvelope = toEnvelope

  /** The tenant that an envelope names, for {@link run}. */
  readonly fromEnvelope: typeof fromEnvelope = fromEnvelope

  /** Has every process look a tenant up again: for writes to the registry that bypass the manager. */
  async invalidate (ref: TenantRef): Promise<void> {
    return this.#parts.resolver.invalidate(resolveTenantRef(ref, 'the tenant of invalidate()'))
  }

  /**
   * Whether a host is a tenant's, for servers that ask before they obtain a certificate.
   *
   * @throws FST_TENANCY_HOST_INVALID for what is no text, FST_TENANCY_REGISTRY_UNAVAILABLE, and FST_TENANCY_RATE_LIMITED
   * when more than 300 hosts in a minute were nobody's.
   */
  isKnownHost (host: string): Promise<boolean> {
    return this.#parts.resolver.isKnownHost(host)
  }

  /**
   * How the parts do, from what was seen in the last seconds: of the traffic, and of a question a second or two where there is none.
   * The call itself asks nobody.
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
    // Without Redis the suite serves on, more slowly; without any database it does not.
    const status = database.status === 'down'
      ? 'down'
      : down.length > 0 || resolver.status !== 'ok'
      ? 'degraded'
      : 'ok'
    return { status, down, registry, shards: database.shards, limits, resolver, database, redis }
  }

  /** Whether the process itself is well, for a liveness probe: a restart mends no database, so that none counts here. */
  isLive (): boolean {
    return true
  }

  /**
   * Whether requests should come here, for a readiness probe: not while the application closes, and not while no database answers.
   * One shard of several takes no other tenant's service away.
   */
  isReady (): boolean {
    return !this.#isClosing && this.health().status !== 'down'
  }

  /**
   * What tenants used, the busiest first, as the process has counted since the first call. The first call begins the count, so that an
   * application which never asks pays nothing. All applications of the process are counted together.
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
