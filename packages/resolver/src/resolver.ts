import { HostInvalidError, type Tenant, type TenantChange, type TenantRecord, type TenantRef,
  type TenantRegistry, type TenantScope, type TenantStatus } from '@fastify-tenancy/core'
import type { TenancyRedis } from '@fastify-tenancy/redis'
import { LRUCache } from 'lru-cache'

import { Announcer } from './announcer.ts'
import { LiveScopes } from './live-scopes.ts'
import { LocalLookupTier } from './local-tier.ts'
import type { LookupKey } from './lookup-key.ts'
import { LookupLocks } from './lookup-locks.ts'
import { TenantLookup } from './lookup.ts'
import { MissBudget } from './miss-budget.ts'
import { NameIndex } from './name-index.ts'
import type { ResolvedResolverCache } from './options.ts'
import { RedisTier } from './redis-tier.ts'
import { RegistryTier } from './registry-tier.ts'

/** The look-up's part of `health()`. */
export interface ResolverHealth {
  /** `'degraded'` while the registry or Redis fails. Remembered tenants are still served. */
  readonly status: 'ok' | 'degraded'
  /** Whether the registry answers. */
  readonly registry: 'ok' | 'down'
  /** Tenants and unknown names that this process remembers. */
  readonly tenants: number
  readonly unknown: number
  /**
   * Counts since the start: reads of the registry, failed reads, and invalid records dropped from
   * Redis.
   */
  readonly registryReads: number
  readonly registryFailures: number
  readonly droppedRecords: number
}

/** How a request names a tenant. Parts that no strategy reads are left out. */
export interface TenantAddress {
  readonly host?: string
  readonly headers?: Readonly<Record<string, string>>
  /** Route parameters. */
  readonly params?: Readonly<Record<string, string>>
}

/** Finds tenants through the cache, outside of requests: `app.tenantResolver`. */
export class TenantResolver {
  /**
   * Returns what a request must carry to belong to this tenant, according to the strategies. Set by
   * `openResolver`.
   */
  addressOf: (tenant: Tenant) => TenantAddress = () => ({})
  /** Scopes of requests that outlive their replies: `waitUntil()`, `detach()`. */
  readonly prolonged: Set<TenantScope> = new Set()
  readonly #lookup: TenantLookup
  readonly #announcer: Announcer
  readonly #local: LocalLookupTier
  readonly #registry: RegistryTier
  readonly #shared: RedisTier | undefined
  readonly #redis: TenancyRedis | undefined
  readonly #index: NameIndex | undefined
  readonly #live: LiveScopes
  readonly #askHost: (host: string) => LookupKey | undefined
  // Tenants that were revalidated within the last second. A tenant reported with each request is
  // looked up once a second.
  readonly #revalidated = new LRUCache<string, true>({ max: 1_000, ttl: 1_000 })

  /**
   * @param now milliseconds of a monotonic clock.
   * @param secrets sign the records in Redis, the newest first. @default records are not signed
   */
  constructor (
    registry: TenantRegistry,
    redis: TenancyRedis | undefined,
    options: ResolvedResolverCache,
    askHost: (host: string) => LookupKey | undefined,
    now: () => number = () => performance.now(),
    secrets: readonly string[] = []
  ) {
    this.#redis = redis
    this.#askHost = askHost
    this.#local = new LocalLookupTier(options, now)
    this.#registry = new RegistryTier(registry, now)
    this.#shared = redis && new RedisTier(redis, options, secrets)
    this.#index = options.index ? new NameIndex(registry, options.ttl) : undefined
    this.#live = new LiveScopes(id => this.find({ id }), options.localTtl)
    this.#lookup = new TenantLookup(
      {
        local: this.#local,
        index: this.#index,
        redis: this.#shared,
        lookupLocks: options.lock && redis !== undefined && this.#shared !== undefined
          ? new LookupLocks(redis, this.#shared)
          : undefined,
        registry: this.#registry,
        budget: options.missesPerAddress === 'unlimited'
          ? undefined
          : new MissBudget(options.missesPerAddress, now)
      },
      this.#live.review,
      now
    )
    this.#announcer = new Announcer(this.#lookup, registry, redis, this.#shared)
  }

  /** The look-up for requests: `peek()` reads memory only, `find()` asks the stores. */
  get lookup (): TenantLookup {
    return this.#lookup
  }

  /**
   * Aborts a scope when its tenant is moved or its status is no longer `allowed` (suspended,
   * deleted).
   */
  get watch (): (scope: TenantScope, allowed?: readonly TenantStatus[]) => void {
    return this.#live.add
  }

  /**
   * Returns the tenant of this id or slug in any status, or `undefined` if there is none.
   *
   * @throws FST_TENANCY_REGISTRY_UNAVAILABLE
   */
  find (ref: TenantRef): Promise<TenantRecord | undefined> {
    return this.#lookup.find(questionOf(ref))
  }

  /**
   * Returns the tenant of a host (with or without port) in any status, or `undefined` if the host
   * names no tenant.
   *
   * These look-ups have a separate queue and budget, so made-up hosts delay no request.
   *
   * @throws FST_TENANCY_HOST_INVALID if the host is not a string, FST_TENANCY_REGISTRY_UNAVAILABLE,
   * and FST_TENANCY_RATE_LIMITED after more than 300 unknown hosts in a minute.
   */
  async findHost (host: string): Promise<TenantRecord | undefined> {
    if (typeof host !== 'string') throw new HostInvalidError('The host to look up must be a string')
    const lookup = this.#askHost(host)
    return lookup && this.#lookup.findHost(lookup)
  }

  /**
   * Whether a host belongs to a tenant that is not deleted. For servers that ask before they obtain
   * a certificate.
   *
   * @throws the errors of {@link findHost}
   */
  async isKnownHost (host: string): Promise<boolean> {
    const tenant = await this.findHost(host)
    return tenant !== undefined && tenant.status !== 'deleting' && tenant.status !== 'deleted'
  }

  /**
   * Makes every process look a tenant up again. Call it after a write to the registry that bypassed
   * the manager. Pass a `TenantChange` with the old names if a slug or domain was removed.
   *
   * @throws FST_TENANCY_REDIS_UNAVAILABLE when other processes could not be notified. This process
   * has forgotten the tenant nevertheless.
   */
  async invalidate (what: TenantRef | TenantChange): Promise<void> {
    if ('slugs' in what) {
      await this.#announcer.announce(what)
      return
    }
    await Promise.all((await this.#changesOf(what)).map(change => this.#announcer.announce(change)))
  }

  /**
   * Makes this process and Redis read a tenant from the registry again, because its cached record
   * is stale: its database locks it out. Runs at most once a second per tenant.
   */
  doubt ({ id, slug, domains }: Tenant): void {
    if (this.#revalidated.has(id)) return
    this.#revalidated.set(id, true)
    this.#announcer.notice({ id, slugs: [slug], domains })
  }

  health (): ResolverHealth {
    const { tenants, unknown } = this.#local.size
    const isDown = this.#registry.isDown || this.#registry.isFailing
    const isDegraded = isDown || (this.#redis !== undefined && this.#redis.health().status !== 'ok')
    return {
      status: isDegraded ? 'degraded' : 'ok',
      registry: isDown ? 'down' : 'ok',
      tenants,
      unknown,
      registryReads: this.#registry.reads,
      registryFailures: this.#registry.failures,
      droppedRecords: this.#shared?.dropped ?? 0
    }
  }

  /**
   * Asks the registry for a known tenant if the registry neither answered nor failed for so many
   * milliseconds. So `health()` reports an outage without traffic.
   */
  probeRegistry (silence: number): void {
    this.#registry.probe(silence)
  }

  /** Subscribes to changes. */
  async start (): Promise<void> {
    await this.#redis?.ready()
    await this.#announcer.start()
    this.#index?.start(() => this.#announcer.isHearing)
  }

  /** Ends what {@link start} began. It does not close the Redis client. */
  stop (): Promise<void> {
    this.#live.stop()
    this.#index?.stop()
    return this.#announcer.stop()
  }

  // Returns changes with the remembered names and the current names, because processes may remember
  // the tenant under either.
  async #changesOf (ref: TenantRef): Promise<TenantChange[]> {
    const old = 'id' in ref ? this.#local.tenantOf(ref.id) : this.#local.peek(ref.slug)
    // If the tenant is not remembered, the name may be an id or a slug. Forgetting too much costs
    // one look-up.
    const bare = 'id' in ref
      ? { id: ref.id, slugs: [], domains: [] }
      : { id: ref.slug, slugs: [ref.slug], domains: [] }
    // Forget the tenant before the first `await`, so that no request gets the old record meanwhile.
    this.#lookup.forget(old ? changeOf(old) : bare)
    const current = await this.#registry.find(questionOf(ref), 'known').catch(() => undefined)
    return [bare, ...[old, current].filter(tenant => tenant !== undefined).map(changeOf)]
  }
}

function questionOf (ref: TenantRef): LookupKey {
  return 'id' in ref ? { kind: 'id', value: ref.id } : { kind: 'slug', value: ref.slug }
}

function changeOf ({ id, slug, domains }: TenantRecord): TenantChange {
  return { id, slugs: [slug], domains }
}
