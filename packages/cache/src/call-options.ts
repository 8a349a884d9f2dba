import { bool, checkOptions, duration, nonEmptyString } from '@fastify-tenancy/core'
import * as v from 'valibot'

/** Options of one call of `increment`. */
export interface IncrementOptions {
  /** How long the number lives from its making: `'1h'`. @default the plugin's `ttl` */
  readonly ttl?: string
}

/** Options of one call of `set`. */
export interface SetOptions {
  /** How long the value lives: `'30s'`. @default the plugin's `ttl` */
  readonly ttl?: string
  /** Names under which `invalidateTag` removes the value. Reading a value with tags takes a second wait for Redis. @default none */
  readonly tags?: readonly string[]
}

/** Options of one call of `wrap`. */
export interface WrapOptions extends SetOptions {
  /** How long past its life a value is still served, while a new one is loaded in the background. @default not at all */
  readonly staleFor?: string
  /** Whether one process at a time loads; the others wait for its value, at most 5 s. @default false */
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

/** @throws FST_TENANCY_OPTION_INVALID */
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
