import { bool, checkOptions, duration, nonEmptyString } from '@fastify-tenancy/core/options'
import * as v from 'valibot'

/** Options of one call of `increment`. */
export interface IncrementOptions {
  /** Lifetime of the number, counted from its creation: `'1h'`. @default the plugin's `ttl` */
  readonly ttl?: string
}

/** Options of one call of `set`. */
export interface SetOptions {
  /** Lifetime of the value: `'30s'`. @default the plugin's `ttl` */
  readonly ttl?: string
  /**
   * Names under which `invalidateTag` removes the value. Reading a value with tags takes a second
   * round trip. @default none
   */
  readonly tags?: readonly string[]
}

/** Options of one call of `wrap`. */
export interface WrapOptions extends SetOptions {
  /**
   * How long an expired value is still served while a new one is loaded in the background. @default
   * not at all
   */
  readonly staleFor?: string
  /**
   * Whether only one process at a time loads. The others wait for its value for up to 5 s. @default
   * false
   */
  readonly lock?: boolean
}

const schema = v.strictObject({
  ttl: v.optional(duration),
  tags: v.optional(v.array(nonEmptyString, 'must be a list of names'), []),
  staleFor: v.optional(duration),
  lock: v.optional(bool, false)
}, 'must be an object')

const schemas = { increment: v.pick(schema, ['ttl']), set: v.pick(schema, ['ttl', 'tags']), wrap: schema }

/** The options of a call, durations in milliseconds. */
export interface ResolvedCallOptions {
  readonly ttl?: number | undefined
  readonly staleFor?: number | undefined
  readonly tags: readonly string[]
  readonly lock: boolean
}

const defaults: ResolvedCallOptions = { tags: [], lock: false }

/**
 * Checks the options of a call.
 *
 * @throws FST_TENANCY_OPTION_INVALID
 */
export function resolveCallOptions (
  method: 'increment' | 'set' | 'wrap',
  input: unknown
): ResolvedCallOptions {
  if (input === undefined) return defaults
  return {
    ...defaults,
    ...checkOptions<Partial<ResolvedCallOptions>>(schemas[method], input, `the options of cache.${method}()`)
  }
}
