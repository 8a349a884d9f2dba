import { OptionInvalidError, type ScopeLogger } from '@fastify-tenancy/core'
import { installationProblem } from '@fastify-tenancy/core/keys'

import { BoundedRedis, defaultSilence } from './bounded-redis.ts'
import { openClient, withErrorListener } from './client.ts'
import { NamespacedRedis } from './namespaced.ts'
import { isClient, isTenancyRedis, resolveRedisSource, type RedisSource } from './options.ts'
import type { TenancyRedis } from './port.ts'

const silent: ScopeLogger = { info () {}, warn () {}, error () {} }

/** Options of {@link openRedis}. */
export interface OpenRedisOptions {
  /** Name shown in `CLIENT LIST`. @default 'fastify-tenancy' */
  readonly name?: string
  /**
   * The name of the installation, which becomes part of every key and channel: 1 to 63 of `A-Z a-z
   * 0-9 _ -`. @default none
   */
  readonly namespace?: string | undefined
  /**
   * Receives one line when Redis refuses the login or a channel. Refused commands reject instead.
   * @default nothing is logged
   */
  readonly log?: ScopeLogger
}

/**
 * Opens a Redis, or adopts an open one, within the suite's bounds. It connects in the background.
 * `close()` closes only a client that was opened here. A port is returned unchanged, unless
 * `options` adds a namespace.
 *
 * @throws FST_TENANCY_OPTION_INVALID
 */
export function openRedis (source: RedisSource, options: OpenRedisOptions = {}): TenancyRedis {
  const input = resolveRedisSource(source)
  const namespace = namespaceOf(input, options.namespace)
  if (isTenancyRedis(input))
    return namespace === input.namespace || namespace === undefined
      ? input
      : new NamespacedRedis(input, namespace, false)
  const opened = openBounded(input, options)
  return namespace === undefined ? opened : new NamespacedRedis(opened, namespace, true)
}

/**
 * Refuses a plugin's `redis` without a namespace in either option, because two applications would
 * share their keys.
 *
 * @param name the name of the caller's options, for the message.
 * @throws FST_TENANCY_OPTION_INVALID
 */
export function assertNamespaced (
  { redis, namespace }: { readonly redis?: RedisSource | undefined; readonly namespace?: string | undefined },
  name = 'options'
): void {
  if (redis === undefined || namespaceOf(redis, namespace) !== undefined) return
  throw new OptionInvalidError(
    `${name}.redis needs a namespace, because another application may use the same Redis: set ` +
      `${name}.namespace to a name that only this application uses, such as 'shop-production'`
  )
}

/**
 * Returns the namespace of a source.
 *
 * @throws FST_TENANCY_OPTION_INVALID for two different namespaces, and for one that cannot be part
 * of a key.
 */
function namespaceOf (source: RedisSource, beside: string | undefined): string | undefined {
  const inside: unknown = typeof source === 'object' && !isClient(source) ? source.namespace : undefined
  if (inside !== undefined && beside !== undefined && inside !== beside)
    throw new OptionInvalidError(
      `redis has the namespace '${String(inside).slice(0, 63)}' already: remove the other namespace`
    )
  const namespace = beside ?? inside
  const problem = namespace === undefined ? undefined : installationProblem(namespace)
  if (problem !== undefined) throw new OptionInvalidError(`the namespace of redis ${problem}`)
  return namespace as string | undefined
}

function openBounded (input: Exclude<RedisSource, TenancyRedis>, options: OpenRedisOptions): TenancyRedis {
  const log = options.log ?? silent
  if (isClient(input)) return new BoundedRedis(withErrorListener(input), false, log)
  const { commandTimeout, socketTimeout = defaultSilence } = typeof input === 'string' ? {} : input
  return new BoundedRedis(
    openClient(input, options.name ?? 'fastify-tenancy'),
    true,
    log,
    commandTimeout,
    socketTimeout
  )
}
