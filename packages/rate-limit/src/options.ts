import { checkOptions, nonEmptyString, oneOf, bool } from '@fastify-tenancy/core/options'
import { namespaceSchema, redisSchema, type RedisSource } from '@fastify-tenancy/redis'
import * as v from 'valibot'

import { checkLimits } from './check-limits.ts'
import type { HeaderStyle } from './headers.ts'
import type { OnStoreError, Precision } from './limiter.ts'
import { Limits, type LimitsDocument } from './limits.ts'

/**
 * Options of the rate limit. Either `file` or `limits` is required; a string is short for `{ file
 * }`.
 */
export interface RateLimitOptions {
  /**
   * Path of the limits file, `.json` or YAML, relative to the working directory. It is read again
   * when it changes.
   */
  readonly file?: string
  /** The limits, in the format of the file. */
  readonly limits?: LimitsDocument
  /**
   * The Redis in which processes count together. Without it each process counts alone. A client
   * passed in is never closed.
   */
  readonly redis?: RedisSource | undefined
  /**
   * The prefix of keys in Redis, so that two applications never share them. Required with `redis`,
   * unless `redis` has one.
   */
  readonly namespace?: string | undefined
  /** `'report'` counts and logs requests over the limit, but refuses none. @default 'enforce' */
  readonly mode?: 'enforce' | 'report'
  /**
   * Counts only the part of the oldest second that is inside the window. This fits bursts better,
   * but admits up to 4 % more. @default false
   */
  readonly smoothing?: boolean
  /**
   * With Redis: `'exact'` asks it for each request; `'leased'` takes small batches of tokens, so
   * that most requests cost no round trip. @default 'exact'
   */
  readonly precision?: Precision
  /** The headers that describe the limit. @default 'both' */
  readonly headers?: HeaderStyle
  /**
   * When Redis fails: `'local'` counts in process against the limit divided by the processes last
   * seen, `'open'` lets all requests pass, `'closed'` answers 503. @default 'local'
   */
  readonly onStoreError?: OnStoreError
}

/** {@link RateLimitOptions} with defaults, frozen. */
export interface ResolvedRateLimitOptions {
  readonly file: string | undefined
  readonly limits: Limits | undefined
  readonly redis: RedisSource | undefined
  readonly namespace: string | undefined
  readonly mode: 'enforce' | 'report'
  readonly smoothing: boolean
  readonly precision: Precision
  readonly headers: HeaderStyle
  readonly onStoreError: OnStoreError
}

/**
 * Checks the options and fills in defaults. The limits file is checked when it is read.
 *
 * @throws FST_TENANCY_OPTION_INVALID
 */
export function resolveRateLimitOptions (input: unknown, name: string = 'options'): ResolvedRateLimitOptions {
  const schema = v.pipe(
    v.strictObject({
      file: v.optional(nonEmptyString),
      limits: v.optional(
        v.pipe(v.unknown(), v.transform(document => new Limits(checkLimits(document, `${name}.limits`))))
      ),
      redis: v.optional(redisSchema),
      namespace: v.optional(namespaceSchema),
      mode: v.optional(oneOf('enforce', 'report'), 'enforce'),
      smoothing: v.optional(bool, false),
      precision: v.optional(oneOf('exact', 'leased'), 'exact'),
      headers: v.optional(oneOf('both', 'legacy', 'draft', 'none'), 'both'),
      onStoreError: v.optional(oneOf('local', 'open', 'closed'), 'local')
    }, 'must be the path of the limits file or an object'),
    v.check(
      ({ file, limits }) => (file === undefined) !== (limits === undefined),
      'must have either file or limits'
    )
  )
  const { file, limits, redis, namespace, ...rest } = checkOptions(
    schema,
    typeof input === 'string' ? { file: input } : input,
    name
  )
  return Object.freeze({ ...rest, file, limits, redis, namespace })
}
