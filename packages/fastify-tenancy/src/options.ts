import { resolveCacheOptions, type CacheOptions } from '@fastify-tenancy/cache'
import { checkOptions, nonEmptyString, OptionInvalidError, timeout,
  type TenantRegistry } from '@fastify-tenancy/core'
import type { TenantDatabaseOptions } from '@fastify-tenancy/database'
import { resolveDatabaseOptions, type ResolvedDatabaseOptions } from '@fastify-tenancy/database/options'
import { resolveRateLimitOptions, type RateLimitOptions } from '@fastify-tenancy/rate-limit'
import { assertNamespaced, namespaceSchema, redisSchema, type RedisSource } from '@fastify-tenancy/redis'
import { resolveResolverOptions, type TenantResolverOptions } from '@fastify-tenancy/resolver'
import * as v from 'valibot'

/** Options of the suite. What belongs to one plugin is that plugin's, and described there. */
export interface TenancyOptions
  extends
    Pick<TenantDatabaseOptions, 'database' | 'isolation' | 'rls' | 'row' | 'tables' | 'registry' | 'audit'>,
    Pick<TenantResolverOptions, 'baseDomain' | 'hosts' | 'routes'> {
  /** URL, ioredis client, Cluster or options. @default none: stores in this process, which therefore must be the only one */
  readonly redis?: RedisSource | undefined
  /**
   * What keys and channels of Redis carry, so that two applications never meet there. Required with `redis` and a registry of your own.
   * @default the installation id, which `tenancy init` makes and the database keeps
   */
  readonly namespace?: string | undefined
  /** The rest of the resolver's options. @default {} */
  readonly resolver?: Omit<
    TenantResolverOptions,
    'baseDomain' | 'hosts' | 'routes' | 'registry' | 'redis' | 'namespace' | 'secret' | 'decorators'
  >
  /** The path of the limits file, the limiter's options, or false for no limits. @default false */
  readonly rateLimit?: string | false | Omit<RateLimitOptions, 'redis' | 'namespace'>
  /** The cache's options, or false for no cache. @default { ttl: '5m' } */
  readonly cache?: false | Omit<CacheOptions, 'redis' | 'namespace' | 'secret' | 'decorator'>
  /** How long requests and runs that are under way may go on while the application closes; then they are cut short. @default '10s' */
  readonly closeTimeout?: string
  /** Other names where these are taken. @default { tenant: 'tenant', db: 'db', cache: 'cache' } */
  readonly decorators?: { readonly tenant?: string; readonly db?: string; readonly cache?: string }
}

/** What each plugin is registered with; undefined where it is off. */
export interface ResolvedTenancyOptions {
  readonly redis: RedisSource | undefined
  /** Undefined: the installation id of the database. */
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

// The parts are checked by their plugins below.
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
  // Our own registry keeps an id in its database. One that is not ours has none that two applications could not share.
  if (registry !== undefined) assertNamespaced({ redis, namespace })
  // One secret for all that is signed: each use derives a key of its own.
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

// The real one is made when the database is open; only the check needs one before. Whether the real one can be watched, the resolver checks.
const anyRegistry = { findBySlug: nobody, findByDomain: nobody, findById: nobody, watch: nobody }
async function nobody (): Promise<undefined> {}

function defined (options: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))
}

// What the suite gives to several of its parts, or under another name, has one place.
function refuseMisplaced (part: string, input: unknown, places: Readonly<Record<string, string>>): void {
  if (typeof input !== 'object' || input === null) return
  const misplaced = Object.keys(places).find(name => name in input)
  if (misplaced !== undefined)
    throw new OptionInvalidError(
      `options.${part}.${misplaced} is not a known option: give options.${places[misplaced]}`
    )
}

// These options stand at the top in the suite, and among the resolver's own in the resolver: the message names where the caller wrote them.
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
