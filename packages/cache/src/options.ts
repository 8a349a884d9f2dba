import { checkOptions, duration, instance, nonEmptyString, oneOf, positiveInteger,
  secretSchema } from '@fastify-tenancy/core/options'
import { namespaceSchema, redisSchema, type RedisSource } from '@fastify-tenancy/redis'
import * as v from 'valibot'

/**
 * Converts values to text and back. `JSON` is a serializer. Neither method may depend on the
 * tenant.
 */
export interface CacheSerializer {
  /** Returns undefined if the value has no text, as `JSON.stringify(undefined)` does. */
  stringify(value: unknown): string | undefined
  parse(text: string): unknown
}

/** Options of the plugin `tenantCache`. */
export interface CacheOptions {
  /**
   * The Redis that stores the values. Without it they are stored in this process only. @default
   * none
   */
  readonly redis?: RedisSource | undefined
  /**
   * The prefix of keys and channels in Redis, so that two applications never share them. Required
   * with `redis`, unless `redis` has one.
   */
  readonly namespace?: string | undefined
  /**
   * Signs the values of `set` and `wrap` in Redis, so that values of other writers are misses. 32
   * characters or more, or `[new, old]` during a rotation. All processes need the same value.
   * @default values are not signed
   */
  readonly secret?: string | readonly [string, string] | undefined
  /** Lifetime of a value, unless its call sets another. @default '5m' */
  readonly ttl?: string
  /**
   * The fraction by which a lifetime is shortened at random, so that values stored together do not
   * expire together: 0 to 1. @default 0.1
   */
  readonly jitter?: number
  /** The name of the request's getter, if `cache` is already in use. @default 'cache' */
  readonly decorator?: string
  /** Maximum length of a serialized value in bytes. @default 1_048_576 */
  readonly maxEntryBytes?: number
  /**
   * Memory in bytes for the values of all tenants in this process, without Redis. A tenant may use
   * an eighth. @default 67_108_864
   */
  readonly maxBytes?: number
  /** Keeps copies in this process in front of Redis. @default false */
  readonly local?: false | LocalCacheOptions
  /** Converts values to text and back. @default JSON */
  readonly serializer?: CacheSerializer
  /**
   * What reads and `set` do when Redis cannot be reached: behave as if the cache were empty, or
   * reject with FST_TENANCY_REDIS_UNAVAILABLE. @default 'miss'
   */
  readonly onStoreError?: 'miss' | 'throw'
}

/** The tier of copies in this process. */
export interface LocalCacheOptions {
  /** How long a copy may be outdated if the message about the change was lost. @default '1s' */
  readonly ttl?: string
  /**
   * Memory in bytes for the copies of all tenants. A tenant may use an eighth. @default 16_777_216
   */
  readonly maxBytes?: number
}

/** {@link CacheOptions} with defaults; durations in milliseconds. */
export interface ResolvedCacheOptions {
  readonly redis?: RedisSource | undefined
  readonly namespace?: string | undefined
  /** The newest secret first; empty if values are not signed. */
  readonly secrets: readonly string[]
  readonly ttl: number
  readonly jitter: number
  readonly decorator: string
  readonly maxEntryBytes: number
  readonly maxBytes: number
  readonly local: false | { readonly ttl: number; readonly maxBytes: number }
  readonly serializer: CacheSerializer
  readonly onStoreError: 'miss' | 'throw'
}

const part = v.pipe(
  v.number('must be a number from 0 to 1'),
  v.minValue(0, 'must be a number from 0 to 1'),
  v.maxValue(1, 'must be a number from 0 to 1')
)

/** Replaces `JSON`, the default, with an object that the codec recognizes. */
export const json: CacheSerializer = Object.freeze<CacheSerializer>({
  stringify: value => JSON.stringify(value),
  parse: text => JSON.parse(text)
})

// Copies the object, because options are frozen and the caller's object (or JSON itself) must not
// be.
const serializer = v.pipe(
  instance<CacheSerializer>('an object with the methods stringify and parse', 'stringify', 'parse'),
  v.transform((input): CacheSerializer =>
    input === JSON ? json : ({ stringify: value => input.stringify(value), parse: text => input.parse(text) })
  )
)

const schema = v.strictObject({
  redis: v.optional(redisSchema),
  namespace: v.optional(namespaceSchema),
  secret: v.optional(secretSchema),
  ttl: v.optional(duration, '5m'),
  jitter: v.optional(part, 0.1),
  decorator: v.optional(nonEmptyString, 'cache'),
  maxEntryBytes: v.optional(positiveInteger, 1_048_576),
  maxBytes: v.optional(positiveInteger, 67_108_864),
  local: v.optional(
    v.union([
      v.literal(false),
      v.strictObject({ ttl: v.optional(duration, '1s'), maxBytes: v.optional(positiveInteger, 16_777_216) })
    ], 'must be false or an object with ttl and maxBytes'),
    false
  ),
  serializer: v.optional(serializer, JSON),
  onStoreError: v.optional(oneOf('miss', 'throw'), 'miss')
}, 'must be an object')

/**
 * Checks the options and fills in their defaults.
 *
 * @throws FST_TENANCY_OPTION_INVALID
 */
export function resolveCacheOptions (input: unknown, name = 'options'): ResolvedCacheOptions {
  const { secret: secrets = [], ...options } = checkOptions(schema, input ?? {}, name)
  return Object.freeze({ ...options, secrets })
}
