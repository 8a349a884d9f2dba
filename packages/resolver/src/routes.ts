import { OptionInvalidError, resolveRouteTenancy, RequestTenancy, type ResolvedRouteTenancy } from '@fastify-tenancy/core'
import type { FastifyInstance, FastifyRequest, RouteOptions } from 'fastify'

import type { ResolvedResolverOptions } from './options.ts'

// Fastify copies a route's config after the onRoute hooks, symbols included: what is resolved once is found by each request.
const key: unique symbol = Symbol('tenancy.route')

interface RouteConfig {
  tenancy?: unknown
  [key]?: RouteModes
}

/** A route's resolved `config.tenancy`. */
export interface RouteModes {
  readonly route: ResolvedRouteTenancy
  /** What every request of an `'off'` route has for `request.tenancy`: nothing, once for all. */
  readonly off: RequestTenancy | undefined
}

/** Of URLs that match no route. */
const unmatched: RouteModes = modesOf(undefined)

/** `request.tenancy` before our first hook. */
export const outside: RequestTenancy = Object.freeze(new RequestTenancy(resolveRouteTenancy('off')))

/** What a request's route says of tenants. */
export function routeOf (request: FastifyRequest): RouteModes {
  return (request.routeOptions.config as RouteConfig | undefined)?.[key] ?? unmatched
}

/**
 * Resolves what a route says while it is registered, so that a mistake stops the boot: its own `config.tenancy`,
 * or the list of `routes` with a pattern that fits its URL.
 *
 * @throws FST_TENANCY_OPTION_INVALID
 */
export function resolveRoute (route: RouteOptions, patterns: ResolvedResolverOptions['routes']): RouteModes {
  const config = route.config as RouteConfig | undefined
  const modes = modesOf(config?.tenancy === undefined ? modeOfUrl(route, patterns) : config.tenancy, `config.tenancy of ${String(route.method)} ${route.url}`)
  route.config = { ...config, [key]: modes } as NonNullable<RouteOptions['config']>
  return modes
}

/**
 * Refuses an application that has routes already: their `config.tenancy` was never checked, and those of earlier
 * plugins would be served without a tenant. Only the preflight route of a CORS plugin may be there.
 *
 * @throws FST_TENANCY_OPTION_INVALID
 */
export function refuseEarlierRoutes (app: FastifyInstance): void {
  const earlier = app.printRoutes({ commonPrefix: false }).split('\n').find(line => /\([A-Z][A-Z, -]*\)/.test(line) && !/ \*? ?\/?\* \(OPTIONS\)$/.test(line))
  if (earlier !== undefined) throw new OptionInvalidError(`a route exists already (${earlier.replace(/^[^/*]*/, '')}): register the tenant resolver before all routes`)
}

function modesOf (given: unknown, name?: string): RouteModes {
  const route = resolveRouteTenancy(given, name)
  return { route, off: route.mode === 'off' ? Object.freeze(new RequestTenancy(route)) : undefined }
}

function modeOfUrl (route: RouteOptions, { off, optional }: ResolvedResolverOptions['routes']): 'off' | 'optional' | undefined {
  if (off.some(pattern => fits(route.url, pattern))) return 'off'
  if (optional.some(pattern => fits(route.url, pattern))) return 'optional'
  // The route by which a CORS plugin takes preflights: they carry no credentials, and their answer says nothing of a tenant.
  // Registered under a prefix, it takes those below the prefix.
  const { prefix = '' } = route as RouteOptions & { readonly prefix?: string }
  return route.method === 'OPTIONS' && /^\/?\*$/.test(route.url.slice(prefix.length)) ? 'off' : undefined
}

// '/documentation/*' is '/documentation' and all below it; a pattern without a star is one route's URL.
function fits (url: string, pattern: string): boolean {
  if (!pattern.endsWith('*')) return url === pattern
  const start = pattern.slice(0, -1)
  return url.startsWith(start) || `${url}/` === start
}
