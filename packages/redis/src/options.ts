import { installationProblem } from '@fastify-tenancy/core/keys'
import { checkOptions } from '@fastify-tenancy/core/options'
import type { Cluster, Redis, RedisOptions } from 'ioredis'
import * as v from 'valibot'

import type { TenancyRedis } from './port.ts'

/**
 * The source of a Redis: a URL (`redis://…`, `rediss://…`), an ioredis client or Cluster, ioredis
 * options (also for Sentinel), or the result of {@link openRedis}. A client is never closed.
 */
export type RedisSource = string | Redis | Cluster | OwnRedisOptions | TenancyRedis

/** ioredis options with additions of this package. */
export interface OwnRedisOptions extends RedisOptions {
  /** A `redis://` or `rediss://` URL that replaces `host` and `port`. */
  readonly url?: string
  /** The name of the installation, which becomes part of every key and channel. */
  readonly namespace?: string
}

const message = 'must be a redis:// or rediss:// URL, an ioredis client or Cluster, or ioredis options'

/**
 * The schema of a {@link RedisSource}, for the `redis` option of other packages. Options are
 * copied, clients are not.
 */
export const redisSchema: v.GenericSchema<unknown, RedisSource> = v.pipe(
  v.custom<RedisSource>(isSource, message),
  v.check(hasOwnUrl, 'must have a url that is a redis:// or rediss:// URL, if it is set'),
  v.check(
    hasPlace,
    'must have a host that is a non-empty string, a port from 1 to 65535 and a db of 0 or more, ' +
      'if they are set'
  ),
  v.transform(source => isPlain(source) ? copy(source) : source)
)

/** The schema of the `namespace` option of other packages. */
export const namespaceSchema: v.GenericSchema<string> = v.pipe(
  v.string('must be 1 to 63 of A-Z, a-z, 0-9, _ and -'),
  v.check(name => installationProblem(name) === undefined, 'must be 1 to 63 of A-Z, a-z, 0-9, _ and -')
)

/**
 * Checks a {@link RedisSource} that is not part of a larger options object.
 *
 * @throws FST_TENANCY_OPTION_INVALID
 */
export function resolveRedisSource (input: unknown, name = 'redis'): RedisSource {
  return checkOptions(redisSchema, input, name)
}

/**
 * Whether this is an ioredis client. Checked by its methods, because an application may load
 * another copy of ioredis.
 */
export function isClient (source: unknown): source is Redis | Cluster {
  return hasMethods(source, 'duplicate', 'mget', 'evalsha', 'on')
}

/** Whether this is a result of {@link openRedis} or another implementation of the port. */
export function isTenancyRedis (source: unknown): source is TenancyRedis {
  return hasMethods(source, 'run', 'mget', 'subscribe', 'health')
}

function isSource (source: unknown): boolean {
  if (typeof source === 'string') return isRedisUrl(source)
  return isClient(source) || isTenancyRedis(source) || isPlain(source)
}

// Checks the URL, because ioredis would ignore an invalid one and connect to localhost.
function hasOwnUrl (source: RedisSource): boolean {
  if (!isPlain(source)) return true
  const { url } = source as { readonly url?: unknown }
  return url === undefined || (typeof url === 'string' && isRedisUrl(url))
}

// Checks values that ioredis would replace by its default or retry forever. ioredis checks its
// other options.
function hasPlace (source: RedisSource): boolean {
  if (!isPlain(source)) return true
  const { host, port, db } = source as Readonly<Partial<Record<'host' | 'port' | 'db', unknown>>>
  return (host === undefined || (typeof host === 'string' && host !== '')) && isWhole(port, 1, 65_535) &&
    isWhole(db, 0, Number.MAX_SAFE_INTEGER)
}

/** Accepts digits as a number, as ioredis does, for values from environment variables. */
function isWhole (input: unknown, least: number, most: number): boolean {
  if (input === undefined) return true
  const value = typeof input === 'string' && /^\d+$/.test(input) ? Number(input) : input
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= least && value <= most
}

function isRedisUrl (text: string): boolean {
  const url = URL.parse(text)
  return url !== null && (url.protocol === 'redis:' || url.protocol === 'rediss:') && url.hostname !== ''
}

function hasMethods (source: unknown, ...names: string[]): boolean {
  return typeof source === 'object' && source !== null &&
    names.every(name => typeof (source as Record<string, unknown>)[name] === 'function')
}

function isPlain (value: unknown): value is object {
  return typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype
}

// Copies options, because resolved options are frozen and the caller's objects must not be.
function copy<T> (value: T): T {
  if (Array.isArray(value)) return value.map(copy) as T
  if (!isPlain(value)) return value
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, copy(inner)])) as T
}
