import { OptionInvalidError } from '@fastify-tenancy/core'
import { InternalTypeError } from '@fastify-tenancy/core/errors'
import { addressKey, tenantKey } from '@fastify-tenancy/core/keys'
import { checkOptions, fn, nonEmptyString, oneOf } from '@fastify-tenancy/core/options'
import rateLimit from '@fastify/rate-limit'
import type { FastifyInstance, FastifyRequest, RouteOptions } from 'fastify'
import { createHash } from 'node:crypto'
import { callbackify } from 'node:util'
import * as v from 'valibot'

import { clientAddress } from './client-address.ts'
import { replaceDecorators } from './created-limits.ts'
import { rateLimited } from './errors.ts'
import type { HeaderStyle } from './headers.ts'
import type { Limiter } from './limiter.ts'
import type { Quota } from './quota.ts'

type Store = rateLimit.FastifyRateLimitStore
type KeyGenerator = (request: FastifyRequest) => string | number | Promise<string | number>

const natural = v.pipe(
  v.number('must be a positive integer or a function'),
  v.safeInteger('must be a positive integer or a function'),
  v.minValue(1, 'must be a positive integer or a function')
)

// Units of @fastify/rate-limit up to one day. It accepts longer units at boot but then fails every
// request.
const timeWindow = new RegExp(
  /^(?=.*[1-9])\d{1,6}(?:\.\d+)? ?/.source +
    /(?:ms|msecs?|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?)$/.source,
  'i'
)

/**
 * The schema of a route's `config.rateLimit`. @fastify/rate-limit treats a wrong `max` as "no
 * limit", so a wrong value stops the boot here. Options that only its own stores support (ban,
 * continueExceeding, exponentialBackoff, cache, redis) are refused.
 */
const schema = v.strictObject({
  max: v.union([natural, fn()], 'must be a positive integer or a function'),
  timeWindow: v.optional(
    v.union(
      [natural, v.pipe(v.string(), v.regex(timeWindow)), fn()],
      "must be milliseconds or a duration such as '1 minute'"
    )
  ),
  hook: v.optional(oneOf('onRequest', 'preParsing', 'preValidation', 'preHandler')),
  groupId: v.optional(nonEmptyString),
  keyGenerator: v.optional(fn<KeyGenerator>()),
  allowList: v.optional(fn()),
  onExceeding: v.optional(fn()),
  onExceeded: v.optional(fn()),
  errorResponseBuilder: v.optional(fn())
}, 'must be an object with max, or false')

/** What route limits need from the plugin. */
interface RouteLimitSettings {
  readonly limiter: Limiter
  readonly headers: HeaderStyle
  readonly mode: 'enforce' | 'report'
}

/**
 * Lets routes set a limit with `config.rateLimit`, per tenant and route, in addition to the
 * tenant's limit.
 */
export async function registerRouteLimits (
  app: FastifyInstance,
  { limiter, headers, mode }: RouteLimitSettings
): Promise<void> {
  if (app.hasPlugin('@fastify/rate-limit')) throw new OptionInvalidError(message)
  checkRouteLimits(app)
  const isShown = headers === 'both' || headers === 'legacy'
  const shown = {
    'x-ratelimit-limit': isShown,
    'x-ratelimit-remaining': isShown,
    'x-ratelimit-reset': isShown
  }
  await app.register(rateLimit, {
    global: false,
    store: routeStore(limiter, () => {
      if (mode === 'report')
        app.log.warn({}, "a route is over its limit: let through, because mode is 'report'")
      return mode === 'enforce'
    }),
    keyGenerator: scoped(),
    errorResponseBuilder: (_request, { ttl }) => rateLimited(Math.ceil(ttl / 1_000)),
    addHeaders: shown,
    addHeadersOnExceeding: shown
  })
  replaceDecorators(app, (input, name) => {
    const checked = checkOptions(schema, input, name)
    return { ...checked, keyGenerator: scoped(checked.keyGenerator) } as rateLimit.RateLimitOptions
  })
  app.addHook('onReady', async () => {
    if (app.printPlugins().split('@fastify/rate-limit').length > 2) throw new OptionInvalidError(message)
  })
}

const message = '@fastify/rate-limit is registered twice, which counts every route twice: remove your ' +
  'registration, because @fastify-tenancy/rate-limit registers it'
const ours = new WeakSet<KeyGenerator>()

/**
 * Checks each route's `config.rateLimit` and puts the tenant before its key. So neither a route's
 * `keyGenerator` nor a `groupId` can make two tenants share a counter. Registered before the hook
 * of @fastify/rate-limit.
 */
function checkRouteLimits (app: FastifyInstance): void {
  app.addHook('onRoute', route => {
    const input = route.config?.rateLimit
    if (input === undefined || input === false) return
    // True for the HEAD route that Fastify creates from this GET.
    if (input.keyGenerator !== undefined && ours.has(input.keyGenerator)) return
    const checked = checkOptions(schema, input, `config.rateLimit of ${String(route.method)} ${route.url}`)
    const keys: OwnKeys = new WeakMap()
    route.config = {
      ...route.config,
      rateLimit: { ...input, ...withOwnKeys(input, keys), keyGenerator: scoped(checked.keyGenerator, keys) }
    }
  })
}

/** The key that a route's `keyGenerator` returned for a request. */
type OwnKeys = WeakMap<FastifyRequest, string | number>
type KeyedFunction = (request: FastifyRequest, key: string | number) => unknown

const keyed: readonly string[] = ['max', 'timeWindow', 'allowList', 'onExceeding', 'onExceeded']

/**
 * Passes the route's own key to its functions, without the tenant prefix. Passes the address if the
 * route has no key.
 */
function withOwnKeys (input: object, keys: OwnKeys): Partial<rateLimit.RateLimitOptions> {
  const functions = Object.entries(input).filter(([name, value]) =>
    keyed.includes(name) && typeof value === 'function'
  ) as [string, KeyedFunction][]
  return Object.fromEntries(
    functions.map((
      [name, own]
    ) => [name, (request: FastifyRequest) => own(request, keys.get(request) ?? request.ip)])
  ) as Partial<rateLimit.RateLimitOptions>
}

/** Returns `<tenant>\n<the route's own key>`, or `@<address>\n…` without a tenant. */
function scoped (own?: KeyGenerator, keys?: OwnKeys): KeyGenerator {
  const generate = async (request: FastifyRequest): Promise<string> => {
    const tenant = request.tenancy.scope?.tenant
    const key = own === undefined ? '' : await own(request)
    if (own !== undefined) keys?.set(request, key)
    return `${tenant?.id ?? `@${clientAddress(request.ip)}`}\n${key}`
  }
  ours.add(generate)
  return generate
}

/** Returns a store class for @fastify/rate-limit that counts with our limiter. */
function routeStore (limiter: Limiter, onRefused: () => boolean): rateLimit.FastifyRateLimitStoreCtor {
  return class RouteStore implements Store {
    readonly #route: string | undefined

    constructor (_settings: object, route?: string) {
      this.#route = route
    }

    // The library passes the merged settings, not the route that its types declare.
    child (settings: object): Store {
      const { routeInfo, groupId } = settings as {
        readonly routeInfo?: Partial<RouteOptions>
        readonly groupId?: string
      }
      const method = String(routeInfo?.method).replace(/^HEAD$/, 'GET')
      return new RouteStore(
        settings,
        groupId === undefined ? `${method} ${routeInfo?.url}` : `group ${groupId}`
      )
    }

    /** Serves `{ increment: false }`: returns the count without counting. */
    read (key: string, callback: Parameters<Store['incr']>[1], timeWindow: number, max: number): void {
      callbackify(() => this.#look(key, timeWindow, max))(callback)
    }

    async #look (key: string, timeWindow: number, max: number): Promise<{ current: number; ttl: number }> {
      checkNumbers(max, timeWindow)
      const decision = max === 0 ? undefined : await limiter.take([this.#quota(key, timeWindow, max)], 0)
      return decision === undefined
        ? { current: 0, ttl: timeWindow }
        : { current: decision.used, ttl: decision.reset }
    }

    incr (key: string, callback: Parameters<Store['incr']>[1], timeWindow: number, max: number): void {
      callbackify(() => this.#count(key, timeWindow, max))(callback)
    }

    async #count (key: string, timeWindow: number, max: number): Promise<{ current: number; ttl: number }> {
      checkNumbers(max, timeWindow)
      const decision = max === 0
        ? { wait: timeWindow, used: 0, reset: timeWindow }
        : await limiter.take([this.#quota(key, timeWindow, max)], 1)
      if (decision === undefined) return { current: 0, ttl: timeWindow }
      if (decision.wait > 0)
        return onRefused()
          ? { current: max + 1, ttl: decision.wait }
          : { current: max, ttl: decision.reset }
      return { current: decision.used, ttl: decision.reset }
    }

    #quota (key: string, timeWindow: number, max: number): Quota {
      const end = key.indexOf('\n')
      const who = key.slice(0, end)
      // The window is part of the key, because a ring of another shape is another counter.
      const name = (own: string): string => shortened(`${this.#route}\n${timeWindow}\n${own}`)
      const keyOf = (own: string): string =>
        who.startsWith('@')
          ? addressKey(who.slice(1), `limit-route:${name(own)}`)
          : tenantKey(who, 'limit-route', name(own))
      return {
        key: keyOf(key.slice(end + 1)),
        overflow: keyOf('others'),
        name: 'route',
        limit: max,
        shape: { width: Math.ceil(timeWindow / 60), slots: 60 },
        smoothing: false
      }
    }
  }
}

/** Checks the results of a route's functions, because NaN would mean "no limit". */
function checkNumbers (max: number, timeWindow: number): void {
  if (!Number.isSafeInteger(max) || max < 0)
    throw new InternalTypeError('max of config.rateLimit must give a whole number')
  if (!Number.isFinite(timeWindow) || timeWindow < 1)
    throw new InternalTypeError('timeWindow of config.rateLimit must give milliseconds')
}

const longestName = 512

/**
 * Returns the hash of a name that is long or not well-formed (half a surrogate pair), because a
 * `keyGenerator` may return a header. A plain name begins with a method or a word, so it never
 * looks like a hash.
 */
function shortened (name: string): string {
  if (name.length <= longestName && name.isWellFormed()) return name
  return `sha256 ${createHash('sha256').update(Buffer.from(name, 'utf16le')).digest('base64url')}`
}
