import { subscribe } from 'node:diagnostics_channel'
import type { FastifyInstance, RouteOptions } from 'fastify'

import type { Probe } from './probe.ts'

/** One method of one route. */
export interface Route {
  readonly method: string
  /** The URL with its prefix: `'/projects/:id'`. */
  readonly url: string
  readonly schema: Readonly<Record<string, unknown>>
  readonly isWebsocket: boolean
  /** Whether `config.tenancy` is `'off'`, so that the route belongs to no tenant. */
  readonly isOff: boolean
  readonly constraints: Readonly<Record<string, unknown>>
  /** The instance on which the route was registered. It has the shared schemas. */
  readonly instance: FastifyInstance
}

/** The kit's data of one application. */
export interface Wiring {
  readonly routes: Route[]
  /** Receives each request while the kit sends one. */
  probe: Probe | undefined
}

type WebsocketRoute = RouteOptions & { readonly websocket?: boolean; readonly wsHandler?: unknown }

// A global symbol, because a test runner that isolates modules may load this file twice for one
// application.
const key = Symbol.for('fastify-tenancy.testing')
type Wired = Record<symbol, Wiring | undefined>

// Fastify publishes each new instance here, before its first plugin. The hook must be added that
// early, because an onRoute hook sees only later routes.
subscribe('fastify.initialization', message => {
  const { fastify: app } = message as { fastify: FastifyInstance }
  if ((app as unknown as Wired)[key] !== undefined) return
  const wiring: Wiring = { routes: [], probe: undefined }
  Object.defineProperty(app, key, { value: wiring })
  app.addHook('onRoute', function (route) {
    for (const method of [route.method].flat()) wiring.routes.push(routeOf(this, route, method))
  })
  app.addHook('onRequest', (request, _reply, done) => {
    wiring.probe?.enter(request)
    done()
  })
})

/**
 * Returns the kit's data of an application.
 *
 * @throws Error if the application was created before this package was imported.
 */
export function wiringOf (app: FastifyInstance): Wiring {
  const wiring = (app as unknown as Wired)[key]
  if (wiring !== undefined) return wiring
  throw new Error(
    'the routes of this application are unknown, because it was created before ' +
      '@fastify-tenancy/testing was imported: import the kit first'
  )
}

function routeOf (instance: FastifyInstance, route: RouteOptions, method: string): Route {
  const { websocket, wsHandler } = route as WebsocketRoute
  return {
    method,
    url: route.url,
    schema: (route.schema ?? {}) as Route['schema'],
    isWebsocket: method === 'GET' && (websocket === true || wsHandler !== undefined),
    get isOff () {
      return isOff(route.config)
    },
    constraints: route.constraints ?? {},
    instance
  }
}

// Whether a route is `'off'`. The resolver stores the resolved mode behind a symbol, from
// `config.tenancy` and `routes.off`.
function isOff (config: object | undefined): boolean {
  const marks = Object.getOwnPropertySymbols(config ?? {}).map(symbol =>
    (config as Record<symbol, { readonly route?: { readonly mode?: string } }>)[symbol]
  )
  return marks.some(mark => mark?.route?.mode === 'off')
}
