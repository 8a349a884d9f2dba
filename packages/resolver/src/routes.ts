import { OptionInvalidError, resolveRouteTenancy, RequestTenancy, type ResolvedRouteTenancy,
  type TenancyMode } from '@fastify-tenancy/core'
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

/** Of routes that were there before the suite: the boot has made sure that `routes.off` names each. */
const earlier: RouteModes = modesOf('off')

/** What a request's route says of tenants. */
export function routeOf (request: FastifyRequest): RouteModes {
  return (request.routeOptions.config as RouteConfig | undefined)?.[key] ??
    (request.is404 ? unmatched : earlier)
}

/** The mode of a route that {@link resolveRoute} has seen. */
export function resolvedModeOf (route: RouteOptions): TenancyMode | undefined {
  return (route.config as RouteConfig | undefined)?.[key]?.route.mode
}

/**
 * Resolves what a route says while it is registered, so that a mistake stops the boot: its own `config.tenancy`,
 * or the list of `routes` with a pattern that fits its URL.
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
 * Refuses an application that has other routes already than those that `routes.off` names: their `config.tenancy` was never
 * checked, and they would be served without a tenant. The preflight route of a CORS plugin may be there.
 *
 * @throws FST_TENANCY_OPTION_INVALID
 */
export function refuseEarlierRoutes (app: FastifyInstance, { off }: ResolvedResolverOptions['routes']): void {
  const isFine = ({ url, methods }: EarlierRoute): boolean =>
    off.some(pattern => fits(url, pattern)) || (methods === 'OPTIONS' && /^\/?\*$/.test(url))
  const refused = earlierRoutes(app).find(route => !isFine(route))
  if (refused !== undefined)
    throw new OptionInvalidError(
      `a route exists already (${refused.url} (${refused.methods})): register the tenant resolver before all routes, or name the route in routes.off`
    )
}

interface EarlierRoute {
  readonly url: string
  readonly methods: string
}

// Fastify lists its routes only as a drawing: a tree of parts of URLs, four characters of margin a level.
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
