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

/** What `health()` tells of the look-up. */
export interface ResolverHealth {
  /** `'degraded'` while the registry or Redis fails: tenants that are remembered are served all the same. */
  readonly status: 'ok' | 'degraded'
  /** Whether the registry answers. */
  readonly registry: 'ok' | 'down'
  /** Tenants and unknown names that this process remembers. */
  readonly tenants: number
  readonly unknown: number
  /** Since the start: reads of the registry, those that failed, and records in Redis that were not what they should be. */
  readonly registryReads: number
  readonly registryFailures: number
  readonly droppedRecords: number
}

/** How a request names a tenant; what no strategy reads is left out. */
export interface TenantAddress {
  readonly host?: string
  readonly headers?: Readonly<Record<string, string>>
  /** Route parameters. */
  readonly params?: Readonly<Record<string, string>>
}

/** Finds tenants through the cache, apart from any request: `app.tenantResolver`. */
export class TenantResolver {
  /** What a request must carry to be this tenant's, as far as the strategies say. Set by {@link openResolver}. */
  addressOf: (tenant: Tenant) => TenantAddress = () => ({})
  /** Scopes of requests that go on behind their replies: `waitUntil()`, `detach()`. */
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
  // Whoever is doubted with each request is looked up once a second.
  readonly #revalidated = new LRUCache<string, true>({ max: 1_000, ttl: 1_000 })

  /**
   * @param now milliseconds that never go back.
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

  /** What answers requests: `peek()` without asking anybody, `find()` otherwise. */
  get lookup (): TenantLookup {
    return this.#lookup
  }

  /** Has a scope aborted when its tenant is moved, or has a status that is not `allowed`: suspended, deleted. */
  get watch (): (scope: TenantScope, allowed?: readonly TenantStatus[]) => void {
    return this.#live.add
  }

  /**
   * The tenant of this id or slug, whatever its status; `undefined` where there is none.
   *
   * @throws FST_TENANCY_REGISTRY_UNAVAILABLE
   */
  find (ref: TenantRef): Promise<TenantRecord | undefined> {
    return this.#lookup.find(questionOf(ref))
  }

  /**
   * The tenant of a host with or without port, whatever its status; `undefined` for hosts that name nobody.
   *
   * Such look-ups have a queue and a budget of their own: made-up hosts keep no request waiting.
   *
   * @throws FST_TENANCY_HOST_INVALID for what is no text, FST_TENANCY_REGISTRY_UNAVAILABLE, and FST_TENANCY_RATE_LIMITED
   * when more than 300 hosts in a minute were nobody's.
   */
  async findHost (host: string): Promise<TenantRecord | undefined> {
    if (typeof host !== 'string') throw new HostInvalidError('The host to look up must be a string')
    const lookup = this.#askHost(host)
    return lookup && this.#lookup.findHost(lookup)
  }

  /**
   * Whether a host is that of a tenant which is not deleted: for servers that ask before they obtain a certificate.
   *
   * @throws as {@link findHost} does
   */
  async isKnownHost (host: string): Promise<boolean> {
    const tenant = await this.findHost(host)
    return tenant !== undefined && tenant.status !== 'deleting' && tenant.status !== 'deleted'
  }

  /**
   * Has every process look a tenant up again: call it after writing to the registry past the manager.
   * Give a `TenantChange` with the old names where a slug or domain was taken away.
   *
   * @throws FST_TENANCY_REDIS_UNAVAILABLE when other processes could not be told. This one has forgotten all the same.
   */
  async invalidate (what: TenantRef | TenantChange): Promise<void> {
    if ('slugs' in what) {
      await this.#announcer.announce(what)
      return
    }
    await Promise.all((await this.#changesOf(what)).map(change => this.#announcer.announce(change)))
  }

  /**
   * Has a tenant looked up again in the registry, here and in Redis, because something showed that what is remembered of it
   * is old: its database locks it out. At most once a second for each.
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

  /** Asks the registry for a tenant that it knew, where nothing was heard of it for so many milliseconds: `health()` then tells of an outage without traffic. */
  probeRegistry (silence: number): void {
    this.#registry.probe(silence)
  }

  /** Begins to hear of changes. */
  async start (): Promise<void> {
    await this.#redis?.ready()
    await this.#announcer.start()
    this.#index?.start(() => this.#announcer.isHearing)
  }

  /** Ends what {@link start} began. The client is its owner's to close. */
  stop (): Promise<void> {
    this.#live.stop()
    this.#index?.stop()
    return this.#announcer.stop()
  }

  // The tenant as it is remembered, and as it is now: both have names under which somebody may remember it.
  async #changesOf (ref: TenantRef): Promise<TenantChange[]> {
    const old = 'id' in ref ? this.#local.tenantOf(ref.id) : this.#local.peek(ref.slug)
    // Where nothing is known of it, the name may be the one or the other: forgetting too much costs a look-up.
    const bare = 'id' in ref
      ? { id: ref.id, slugs: [], domains: [] }
      : { id: ref.slug, slugs: [ref.slug], domains: [] }
    // Forgotten before anything is awaited, so that no request meanwhile gets the old one.
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
