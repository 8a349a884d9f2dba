import { OptionInvalidError, type ResolvedRouteTenancy, type TenancyMode } from '@fastify-tenancy/core'
import { resolveRouteTenancy, RequestTenancy } from '@fastify-tenancy/core/scope'
import type { FastifyInstance, FastifyRequest, RouteOptions } from 'fastify'

import type { ResolvedResolverOptions } from './options.ts'

// Fastify copies a route's config after the onRoute hooks, including symbols. So each request finds
// what was resolved once.
const key: unique symbol = Symbol('tenancy.route')

interface RouteConfig {
  tenancy?: unknown
  [key]?: RouteModes
}

/** A route's resolved `config.tenancy`. */
interface RouteModes {
  readonly route: ResolvedRouteTenancy
  /**
   * The `request.tenancy` of every request of an `'off'` route: one frozen object without a tenant.
   */
  readonly off: RequestTenancy | undefined
}

/** Modes of URLs that match no route. */
const unmatched: RouteModes = modesOf(undefined)

/** The `request.tenancy` before the first hook of the resolver. */
export const outside: RequestTenancy = Object.freeze(new RequestTenancy(resolveRouteTenancy('off')))

/**
 * Modes of routes registered before the suite. At boot, `refuseEarlierRoutes` checked that
 * `routes.off` names each.
 */
const earlier: RouteModes = modesOf('off')

/** Returns the tenancy modes of a request's route. */
export function routeOf (request: FastifyRequest): RouteModes {
  return (request.routeOptions.config as RouteConfig | undefined)?.[key] ??
    (request.is404 ? unmatched : earlier)
}

/** Returns the mode of a route that {@link resolveRoute} has resolved. */
export function resolvedModeOf (route: RouteOptions): TenancyMode | undefined {
  return (route.config as RouteConfig | undefined)?.[key]?.route.mode
}

/**
 * Resolves a route's mode when it is registered, so that a mistake stops the boot. The mode is its
 * own `config.tenancy`, or that of the list in `routes` with a matching pattern.
 *
 * @throws FST_TENANCY_OPTION_INVALID
 */
export function resolveRoute (route: RouteOptions, patterns: ResolvedResolverOptions['routes']): RouteModes {
  const config = route.config as RouteConfig | undefined
  const modes = modesOf(
    config?.tenancy === undefined ? modeOfUrl(route, patterns) : config.tenancy,
    `config.tenancy of ${String(route.method)} ${route.url}`
  )
  route.config = { ...config, [key]: modes } as NonNullable<RouteOptions['config']>
  return modes
}

/**
 * Refuses an application that already has routes which `routes.off` does not name. Their
 * `config.tenancy` was never checked, and they would be served without a tenant. The preflight
 * route of a CORS plugin is allowed.
 *
 * @throws FST_TENANCY_OPTION_INVALID
 */
export function refuseEarlierRoutes (app: FastifyInstance, { off }: ResolvedResolverOptions['routes']): void {
  const isFine = ({ url, methods }: EarlierRoute): boolean =>
    off.some(pattern => fits(url, pattern)) || (methods === 'OPTIONS' && /^\/?\*$/.test(url))
  const refused = earlierRoutes(app).find(route => !isFine(route))
  if (refused !== undefined)
    throw new OptionInvalidError(
      `a route exists already (${refused.url} (${refused.methods})): register the tenant ` +
        'resolver before all routes, or list the route in routes.off'
    )
}

interface EarlierRoute {
  readonly url: string
  readonly methods: string
}

// Fastify lists its routes only as a text tree of URL parts, indented by four characters per level.
function earlierRoutes (app: FastifyInstance): EarlierRoute[] {
  const routes: EarlierRoute[] = []
  const parts: string[] = []
  for (const line of app.printRoutes().split('\n')) {
    const [, margin = '', part = '', , methods] =
      /^((?:[│ ] {3})*)[├└]── (.*?)( \(([A-Z][A-Z, -]*)\)(?: \{.*)?)?$/.exec(line) ?? []
    parts.splice(margin.length / 4, Infinity, part === '(empty root node)' ? '' : part)
    if (methods !== undefined) routes.push({ url: parts.join(''), methods })
  }
  return routes
}

function modesOf (input: unknown, name?: string): RouteModes {
  const route = resolveRouteTenancy(input, name)
  return { route, off: route.mode === 'off' ? Object.freeze(new RequestTenancy(route)) : undefined }
}

function modeOfUrl (
  route: RouteOptions,
  { off, optional }: ResolvedResolverOptions['routes']
): 'off' | 'optional' | undefined {
  if (off.some(pattern => fits(route.url, pattern))) return 'off'
  if (optional.some(pattern => fits(route.url, pattern))) return 'optional'
  // The route with which a CORS plugin answers preflights. They carry no credentials, and their
  // answer reveals nothing about a tenant. A route registered under a prefix answers the preflights
  // below that prefix.
  const { prefix = '' } = route as RouteOptions & { readonly prefix?: string }
  return route.method === 'OPTIONS' && /^\/?\*$/.test(route.url.slice(prefix.length)) ? 'off' : undefined
}

// Whether a pattern matches: '/documentation/*' matches '/documentation' and everything below it. A
// pattern without a star matches one URL.
function fits (url: string, pattern: string): boolean {
  if (!pattern.endsWith('*')) return url === pattern
  const start = pattern.slice(0, -1)
  return url.startsWith(start) || `${url}/` === start
}
