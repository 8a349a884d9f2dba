import { checkOptions, duration, instance, nonEmptyString, oneOf, positiveInteger,
  secretSchema } from '@fastify-tenancy/core'
import { namespaceSchema, redisSchema, type RedisSource } from '@fastify-tenancy/redis'
import * as v from 'valibot'

/** How values become text and come back. `JSON` is one. Neither method may depend on the tenant. */
export interface CacheSerializer {
  /** Undefined where the value has no text, as `JSON.stringify(undefined)` gives. */
  stringify(value: unknown): string | undefined
  parse(text: string): unknown
}

/** Options of the plugin `tenantCache`. */
export interface CacheOptions {
  /** Where the values are. Without it they are in this process only. @default none */
  readonly redis?: RedisSource | undefined
  /** What keys and channels of Redis carry, so that two applications never meet there. Required with `redis`, unless that has one. */
  readonly namespace?: string | undefined
  /**
   * Signs the values of `set` and `wrap` in Redis, so that what another writer puts there is a miss: 32 characters or more, or `[new, old]`
   * while one replaces the other. All processes need the same. @default values are not signed
   */
  readonly secret?: string | readonly [string, string] | undefined
  /** How long a value lives unless its call says otherwise. @default '5m' */
  readonly ttl?: string
  /** The part of its life by which a value's life is shortened at random, so that what was stored together does not end together; 0 to 1. @default 0.1 */
  readonly jitter?: number
  /** The name of the request's getter, where `cache` is taken. @default 'cache' */
  readonly decorator?: string
  /** The longest serialized value, in bytes. @default 1_048_576 */
  readonly maxEntryBytes?: number
  /** Memory for all tenants' values of this process where there is no Redis; a tenant may take an eighth. @default 67_108_864 */
  readonly maxBytes?: number
  /** Copies in this process before Redis. @default false */
  readonly local?: false | LocalCacheOptions
  /** @default JSON */
  readonly serializer?: CacheSerializer
  /** What reads and `set` do when Redis cannot be reached: as if nothing were stored, or reject with FST_TENANCY_REDIS_UNAVAILABLE. @default 'miss' */
  readonly onStoreError?: 'miss' | 'throw'
}

/** The tier in this process before Redis. */
export interface LocalCacheOptions {
  /** How long a copy may lag behind Redis when the message that it is old was lost. @default '1s' */
  readonly ttl?: string
  /** Memory for all tenants' copies; a tenant may take an eighth. @default 16_777_216 */
  readonly maxBytes?: number
}

/** {@link CacheOptions} with defaults; durations in milliseconds. */
export interface ResolvedCacheOptions {
  readonly redis?: RedisSource | undefined
  readonly namespace?: string | undefined
  /** The newest first; none where values are not signed. */
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

/** What `JSON`, and so the default, becomes: by this one the codec knows it. */
export const json: CacheSerializer = Object.freeze<CacheSerializer>({
  stringify: value => JSON.stringify(value),
  parse: text => JSON.parse(text)
})

// A copy, since options are frozen and the caller's object (or JSON itself) must not be.
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
