import { resolveCacheOptions, type CacheOptions } from '@fastify-tenancy/cache'
import { OptionInvalidError, type TenantRegistry } from '@fastify-tenancy/core'
import { checkOptions, nonEmptyString, timeout } from '@fastify-tenancy/core/options'
import type { TenantDatabaseOptions } from '@fastify-tenancy/database'
import { resolveDatabaseOptions, type ResolvedDatabaseOptions } from '@fastify-tenancy/database/options'
import { resolveRateLimitOptions, type RateLimitOptions } from '@fastify-tenancy/rate-limit'
import { assertNamespaced, namespaceSchema, redisSchema, type RedisSource } from '@fastify-tenancy/redis'
import { resolveResolverOptions, type TenantResolverOptions } from '@fastify-tenancy/resolver'
import * as v from 'valibot'

/** Options of the suite. Options of a single plugin are described in that plugin. */
export interface TenancyOptions
  extends
    Pick<TenantDatabaseOptions, 'database' | 'isolation' | 'rls' | 'row' | 'tables' | 'registry' | 'audit'>,
    Pick<TenantResolverOptions, 'baseDomain' | 'hosts' | 'routes'> {
  /**
   * URL, ioredis client, Cluster or options. @default none: stores in this process, so only one
   * process may run
   */
  readonly redis?: RedisSource | undefined
  /**
   * The prefix of keys and channels in Redis, so that two applications never share them. Required
   * with `redis` and a registry of your own.
   * @default the installation id, which `tenancy init` creates in the database
   */
  readonly namespace?: string | undefined
  /** Further options of the resolver. @default {} */
  readonly resolver?: Omit<
    TenantResolverOptions,
    'baseDomain' | 'hosts' | 'routes' | 'registry' | 'redis' | 'namespace' | 'secret' | 'decorators'
  >
  /** The path of the limits file, the limiter's options, or false for no limits. @default false */
  readonly rateLimit?: string | false | Omit<RateLimitOptions, 'redis' | 'namespace'>
  /** The cache's options, or false for no cache. @default { ttl: '5m' } */
  readonly cache?: false | Omit<CacheOptions, 'redis' | 'namespace' | 'secret' | 'decorator'>
  /**
   * How long running requests and runs may continue during the close, before they are aborted.
   * @default '10s'
   */
  readonly closeTimeout?: string
  /**
   * Other names for decorators that are already in use. @default { tenant: 'tenant', db: 'db',
   * cache: 'cache' }
   */
  readonly decorators?: { readonly tenant?: string; readonly db?: string; readonly cache?: string }
}

/** The options of each plugin; undefined if the plugin is off. */
export interface ResolvedTenancyOptions {
  readonly redis: RedisSource | undefined
  /** Undefined means the installation id of the database. */
  readonly namespace: string | undefined
  readonly registry: TenantRegistry | undefined
  readonly database: ResolvedDatabaseOptions
  readonly decorators: { readonly tenant: string; readonly db: string; readonly cache: string }
  readonly resolver: Omit<TenantResolverOptions, 'registry' | 'redis'>
  readonly rateLimit: Omit<RateLimitOptions, 'redis'> | undefined
  readonly cache: Omit<CacheOptions, 'redis'> | undefined
  /** In milliseconds. */
  readonly closeTimeout: number
}

// Each plugin checks its part below.
const part = v.custom<object>(
  value => typeof value === 'object' && value !== null && !Array.isArray(value),
  'must be an object'
)
const schema = v.strictObject({
  baseDomain: v.optional(v.unknown()),
  hosts: v.optional(v.unknown()),
  routes: v.optional(v.unknown()),
  database: v.unknown(),
  isolation: v.optional(v.unknown()),
  rls: v.optional(v.unknown()),
  row: v.optional(v.unknown()),
  tables: v.optional(v.unknown()),
  registry: v.optional(v.unknown()),
  audit: v.optional(v.unknown()),
  redis: v.optional(redisSchema),
  namespace: v.optional(namespaceSchema),
  resolver: v.optional(part, {}),
  rateLimit: v.optional(
    v.union(
      [v.literal(false), nonEmptyString, part],
      'must be the path of a limits file, an object, or false'
    ),
    false
  ),
  cache: v.optional(v.union([v.literal(false), part], 'must be an object or false'), {}),
  closeTimeout: v.optional(timeout, '10s'),
  decorators: v.optional(
    v.strictObject({
      tenant: v.optional(nonEmptyString, 'tenant'),
      db: v.optional(nonEmptyString, 'db'),
      cache: v.optional(nonEmptyString, 'cache')
    }, 'must be an object'),
    {}
  )
}, 'must be an object')

/**
 * Checks all options, each plugin's by that plugin, before anything is opened.
 *
 * @throws FST_TENANCY_OPTION_INVALID
 */
export function resolveTenancyOptions (input: unknown): ResolvedTenancyOptions {
  const {
    baseDomain,
    hosts,
    routes,
    database,
    isolation,
    rls,
    row,
    tables,
    registry,
    audit,
    redis,
    namespace,
    resolver,
    rateLimit,
    cache,
    closeTimeout,
    decorators
  } = checkOptions(schema, input)

  const resolvedDatabase = resolveDatabaseOptions(
    defined({ database, isolation, rls, row, tables, registry, audit, decorator: decorators.db })
  )
  refuseMisplaced('resolver', resolver, {
    baseDomain: 'baseDomain',
    hosts: 'hosts',
    routes: 'routes',
    registry: 'registry',
    redis: 'redis',
    namespace: 'namespace',
    secret: 'rls.secret',
    decorators: 'decorators'
  })
  refuseMisplaced('rateLimit', rateLimit, { redis: 'redis', namespace: 'namespace' })
  refuseMisplaced('cache', cache, {
    redis: 'redis',
    namespace: 'namespace',
    secret: 'rls.secret',
    decorator: 'decorators.cache'
  })
  // The suite's own registry stores an installation id in its database. With a custom registry two
  // applications could share keys, so a namespace is required.
  if (registry !== undefined) assertNamespaced({ redis, namespace })
  // One secret for all signatures; each use derives its own key.
  const { secrets } = resolvedDatabase.rls
  const secret = secrets.length === 1 ? secrets[0] : secrets.length === 2 ? secrets : undefined
  const resolverOptions = defined({
    ...resolver,
    secret,
    baseDomain,
    hosts,
    routes,
    decorators: { tenant: decorators.tenant }
  })
  renamed(
    ['baseDomain', 'hosts', 'routes'],
    () => resolveResolverOptions({ ...resolverOptions, registry: anyRegistry }, 'options.resolver')
  )
  const rateLimitOptions = typeof rateLimit === 'string' ? { file: rateLimit } : rateLimit
  if (rateLimitOptions !== false) resolveRateLimitOptions(rateLimitOptions, 'options.rateLimit')
  const cacheOptions = cache === false
    ? undefined
    : defined({ ...cache, secret, decorator: decorators.cache })
  if (cacheOptions !== undefined) resolveCacheOptions(cacheOptions, 'options.cache')

  return Object.freeze({
    redis,
    namespace,
    registry: resolvedDatabase.registry,
    database: resolvedDatabase,
    decorators,
    resolver: resolverOptions as ResolvedTenancyOptions['resolver'],
    rateLimit: rateLimitOptions === false
      ? undefined
      : rateLimitOptions as ResolvedTenancyOptions['rateLimit'],
    cache: cacheOptions as ResolvedTenancyOptions['cache'],
    closeTimeout
  })
}

// A placeholder for the check, because the real registry is created when the database is open. The
// resolver then checks whether the real one has `watch()`.
const anyRegistry = { findBySlug: nobody, findByDomain: nobody, findById: nobody, watch: nobody }
async function nobody (): Promise<undefined> {}

function defined (options: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))
}

// Refuses options of a part that the suite sets itself, or accepts only at the top level.
function refuseMisplaced (part: string, input: unknown, places: Readonly<Record<string, string>>): void {
  if (typeof input !== 'object' || input === null) return
  const misplaced = Object.keys(places).find(name => name in input)
  if (misplaced !== undefined)
    throw new OptionInvalidError(
      `options.${part}.${misplaced} is not a known option: set options.${places[misplaced]}`
    )
}

// Replaces option names in messages. These options are at the top level in the suite, but belong to
// the resolver, so the message must name the caller's position.
function renamed (names: readonly string[], check: () => void): void {
  try {
    check()
  } catch (error) {
    if (!(error instanceof OptionInvalidError)) throw error
    throw new OptionInvalidError(
      error.message.replace(new RegExp(`options\\.resolver\\.(${names.join('|')})\\b`, 'g'), 'options.$1')
    )
  }
}
