import { OptionInvalidError, reservedSlugs, slugProblem, type TenantRegistry } from '@fastify-tenancy/core'
import { HostPatterns, patternOf } from '@fastify-tenancy/core/names'
import { bool, checkOptions, duration, fn, instance, nonEmptyString, oneOf, positiveInteger, secretSchema,
  timeout } from '@fastify-tenancy/core/options'
import { namespaceSchema, redisSchema, type RedisSource } from '@fastify-tenancy/redis'
import type { FastifyRequest } from 'fastify'
import * as v from 'valibot'

/** A tenant as a strategy function of the application names it. */
export type StrategyAnswer =
  | { readonly slug: string }
  | { readonly id: string }
  | { readonly domain: string }
  | undefined

/** One way to find the tenant of a request. */
export type Strategy =
  | 'subdomain'
  | 'domain'
  | 'header'
  | 'path'
  | 'claim'
  | ((request: FastifyRequest) => StrategyAnswer)

/** Reads the tenant's id (or slug) from credentials that the application has verified. */
export type Claim = (request: FastifyRequest) => string | undefined

/**
 * Creates the tenant that verified credentials name, if it does not exist yet: `claim =>
 * manager.create({ slug: claim })`. An FST_TENANCY_TENANT_CONFLICT thrown by it means that another
 * process was first.
 */
export type CreateIfMissing = (claim: string, request: FastifyRequest) => Promise<unknown>

/** Options of the plugin. */
export interface TenantResolverOptions {
  /** The registry in which tenants are looked up. It is used as it is and never closed. */
  readonly registry: TenantRegistry
  /** `'example.com'`, short for `hosts: ['{tenant}.example.com']`. */
  readonly baseDomain?: string
  /** Host patterns, tried in order: `'{tenant}.example.com'`, `'{tenant}--{any}.preview.dev'`. */
  readonly hosts?: readonly string[]
  /** Strategies, tried in order; the first answer wins. @default ['subdomain', 'domain'] */
  readonly strategies?: readonly Strategy[]
  /** The header of strategy `'header'`; its value is a slug. @default 'x-tenant' */
  readonly header?: string
  /** Reads the claim in `preHandler`. If set, the claim must name the same tenant as the host. */
  readonly claim?: Claim
  /**
   * Creates tenants at their first request. Only for the strategy `'claim'`, on routes that require
   * a tenant. Hosts, headers and paths never create a tenant, because any client can make them up.
   * @default no tenant is created
   */
  readonly createIfMissing?: CreateIfMissing
  /** Labels that are never slugs of tenants. @default core's `reservedSlugs` */
  readonly reserved?: readonly string[]
  /**
   * The slug of the tenant that serves hosts without a tenant. For development and tests: refused
   * under `NODE_ENV=production`.
   */
  readonly fallback?: string
  /**
   * Takes the host from `X-Forwarded-Host` if the peer is one of the addresses in the application's
   * `trustProxy`. @default false
   */
  readonly trustForwardedHost?: boolean
  readonly cache?: ResolverCacheOptions
  /**
   * URL, ioredis client, Cluster or options, or the result of `openRedis()`. Without it each
   * process caches on its own.
   */
  readonly redis?: RedisSource | undefined
  /**
   * The prefix of keys and channels in Redis, so that two applications never share them. Required
   * with `redis`, unless `redis` has one.
   */
  readonly namespace?: string | undefined
  /**
   * Signs the records in Redis, so that records of other writers are rejected: 32 characters or
   * more, or `[new, old]` during a rotation. All processes need the same value. @default records
   * are not signed
   */
  readonly secret?: string | readonly [string, string] | undefined
  /**
   * URL patterns of routes whose `config` you do not own: `'/documentation/*'`. A route's own
   * `config.tenancy` takes precedence.
   */
  readonly routes?: { readonly off?: readonly string[]; readonly optional?: readonly string[] }
  /** Another name for `request.tenant`. @default { tenant: 'tenant' } */
  readonly decorators?: { readonly tenant?: string }
}

/** How long look-ups are remembered. */
export interface ResolverCacheOptions {
  /** Lifetime in Redis. @default '5m' */
  readonly ttl?: string
  /**
   * Lifetime in the process, and so the longest time that a change stays unseen when its message is
   * lost. @default '5s'
   */
  readonly localTtl?: string
  /** Lifetime of "no such tenant" in the process. @default '10s' */
  readonly negativeTtl?: string
  /** Tenants kept in the process, and as many unknown names. @default 10_000 */
  readonly max?: number
  /** Maximum age of a tenant that is served while the registry is down. @default '1h' */
  readonly staleIfError?: string
  /**
   * The fraction by which a lifetime is shortened at random, so that entries do not expire
   * together: 0 to 1. @default 0.1
   */
  readonly jitter?: number
  /**
   * Keeps every slug and domain in the process, so that unknown names cost no look-up, for services
   * under floods of made-up names. Needs `redis` or a registry with `watch()`, to receive new
   * tenants. A tenant whose message was lost is seen after `ttl`. @default false
   */
  readonly index?: boolean
  /**
   * Lets one process at a time ask the registry for a name, while the others wait for its answer in
   * Redis. Without `redis` it has no effect. @default false
   */
  readonly lock?: boolean
  /**
   * Look-ups of unknown names per minute that one client address (IPv6: one /64) may cause. Further
   * ones run one after another. If 100 of them wait, a name that neither the process nor Redis has
   * is answered 429.
   *
   * Behind a proxy, set Fastify's `trustProxy`, or all clients have one address. @default 300
   */
  readonly missesPerAddress?: number | 'unlimited'
}

/** {@link TenantResolverOptions} with defaults and with `baseDomain` as a host pattern. */
export interface ResolvedResolverOptions {
  readonly registry: TenantRegistry
  readonly hosts: readonly string[]
  readonly strategies: readonly Strategy[]
  readonly header: string
  readonly claim: Claim | undefined
  readonly createIfMissing: CreateIfMissing | undefined
  readonly reserved: readonly string[]
  readonly fallback: string | undefined
  readonly trustForwardedHost: boolean
  readonly cache: ResolvedResolverCache
  readonly redis: RedisSource | undefined
  readonly namespace: string | undefined
  /** The newest secret first; empty if records are not signed. */
  readonly secrets: readonly string[]
  readonly routes: { readonly off: readonly string[]; readonly optional: readonly string[] }
  readonly decorators: { readonly tenant: string }
}

/** {@link ResolverCacheOptions} with defaults; times in milliseconds. */
export type ResolvedResolverCache =
  & Readonly<Record<'ttl' | 'localTtl' | 'negativeTtl' | 'max' | 'staleIfError' | 'jitter', number>>
  & { readonly index: boolean; readonly lock: boolean; readonly missesPerAddress: number | 'unlimited' }

const names: v.GenericSchema<string[]> = v.array(nonEmptyString, 'must be a list of strings')
const urlPatterns: v.GenericSchema<string[]> = v.array(
  v.pipe(v.string('must be a URL pattern'), v.regex(/^\/|^\*$/, 'must be a URL pattern that starts with /')),
  'must be a list of URL patterns'
)
// The LRU cache allocates room for all entries at once.
const mostKept = 10_000_000
const jitter: v.GenericSchema<number> = v.pipe(
  v.number('must be a number from 0 to 1'),
  v.minValue(0, 'must be a number from 0 to 1'),
  v.maxValue(1, 'must be a number from 0 to 1')
)

const schema = v.strictObject({
  registry: instance<TenantRegistry>('a TenantRegistry', 'findBySlug', 'findByDomain', 'findById'),
  baseDomain: v.optional(nonEmptyString),
  hosts: v.optional(v.pipe(names, v.minLength(1, 'must name at least one host pattern'))),
  strategies: v.optional(
    v.pipe(
      v.array(
        v.union(
          [oneOf('subdomain', 'domain', 'header', 'path', 'claim'), fn<Exclude<Strategy, string>>()],
          "must be 'subdomain', 'domain', 'header', 'path', 'claim' or a function"
        ),
        'must be a list of strategies'
      ),
      v.minLength(1, 'must name at least one strategy')
    ),
    ['subdomain', 'domain']
  ),
  header: v.optional(
    v.pipe(nonEmptyString, v.regex(/^[a-z0-9-]+$/i, 'must be the name of a header'), v.toLowerCase()),
    'x-tenant'
  ),
  claim: v.optional(fn<Claim>()),
  createIfMissing: v.optional(fn<CreateIfMissing>()),
  reserved: v.optional(names, [...reservedSlugs]),
  fallback: v.optional(nonEmptyString),
  trustForwardedHost: v.optional(bool, false),
  cache: v.optional(
    v.strictObject({
      ttl: v.optional(duration, '5m'),
      localTtl: v.optional(timeout, '5s'),
      negativeTtl: v.optional(duration, '10s'),
      max: v.optional(
        v.pipe(positiveInteger, v.maxValue(mostKept, `must be a positive integer up to ${mostKept}`)),
        10_000
      ),
      staleIfError: v.optional(duration, '1h'),
      jitter: v.optional(jitter, 0.1),
      index: v.optional(bool, false),
      lock: v.optional(bool, false),
      missesPerAddress: v.optional(
        v.union([positiveInteger, v.literal('unlimited')], "must be a positive integer or 'unlimited'"),
        300
      )
    }, 'must be an object'),
    {}
  ),
  redis: v.optional(redisSchema),
  namespace: v.optional(namespaceSchema),
  secret: v.optional(secretSchema),
  routes: v.optional(
    v.strictObject(
      { off: v.optional(urlPatterns, []), optional: v.optional(urlPatterns, []) },
      'must be an object'
    ),
    {}
  ),
  decorators: v.optional(
    v.strictObject({ tenant: v.optional(nonEmptyString, 'tenant') }, 'must be an object'),
    {}
  )
}, 'must be an object')

/**
 * Checks the options and fills in their defaults.
 *
 * @throws FST_TENANCY_OPTION_INVALID
 */
export function resolveResolverOptions (input: unknown, name = 'options'): ResolvedResolverOptions {
  const { baseDomain, hosts: patterns, secret: secrets = [], ...options } = checkOptions(schema, input, name)
  const { strategies, fallback } = options
  if (baseDomain !== undefined && patterns !== undefined)
    throw new OptionInvalidError(
      `${name}.baseDomain and ${name}.hosts exclude each other: give baseDomain, or the list of patterns`
    )
  const hosts = patterns ?? (baseDomain === undefined ? [] : [patternOf(baseDomain, name)])
  void new HostPatterns(hosts, name) // refuses invalid patterns before anything is opened
  if (
    hosts.length === 0 && strategies.includes('subdomain') &&
    strategies.every(strategy => strategy === 'subdomain' || strategy === 'domain')
  ) {
    throw new OptionInvalidError(
      `${name}.baseDomain is required, such as 'example.com', unless ${name}.strategies lists ` +
        "another strategy than 'subdomain' and 'domain'"
    )
  }
  if (strategies.includes('claim') && options.claim === undefined)
    throw new OptionInvalidError(
      `${name}.claim is required for the strategy 'claim': set it to a function that reads the ` +
        'tenant from verified credentials'
    )
  if (options.createIfMissing !== undefined && !strategies.includes('claim'))
    throw new OptionInvalidError(
      `${name}.createIfMissing needs the strategy 'claim': only verified credentials may create a tenant`
    )
  if (fallback !== undefined) {
    if (process.env['NODE_ENV'] === 'production')
      throw new OptionInvalidError(
        `${name}.fallback must not be set under NODE_ENV=production: it serves hosts that name no tenant`
      )
    const problem = slugProblem(fallback, options.reserved)
    if (problem !== undefined)
      throw new OptionInvalidError(`${name}.fallback must be a tenant's slug: ${problem}`)
  }
  if (options.cache.index && options.redis === undefined && options.registry.watch === undefined) {
    throw new OptionInvalidError(
      `${name}.cache.index needs ${name}.redis or a registry with watch(): without either, this ` +
        'process would not receive new tenants'
    )
  }
  const twice = options.routes.off.find(pattern => options.routes.optional.includes(pattern))
  if (twice !== undefined)
    throw new OptionInvalidError(
      `${name}.routes names '${twice}' as off and as optional: remove it from one of them`
    )
  if (new Set(strategies).size !== strategies.length)
    throw new OptionInvalidError(`${name}.strategies must name each strategy once`)
  return Object.freeze({
    claim: undefined,
    createIfMissing: undefined,
    redis: undefined,
    namespace: undefined,
    ...options,
    secrets,
    fallback,
    hosts: Object.freeze(hosts)
  })
}
