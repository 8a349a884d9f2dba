import type { FastifyInstance, FastifyRequest } from 'fastify'

import { serverOptions } from './forwarded.ts'

/**
 * Warns at boot if the suite serves only a part of the application. A plugin file without
 * `fastify-plugin`, as autoload loads it, keeps hooks and decorators to itself.
 */
export function warnOfEncapsulation (app: FastifyInstance): void {
  if (Object.getPrototypeOf(app) === Object.prototype) return
  app.log.warn(
    'tenancy: it is registered inside an encapsulated plugin, so routes outside have no tenant: ' +
      'wrap that plugin with fastify-plugin, unless this is intended'
  )
}

/**
 * Returns a function that warns once if a proxy sends X-Forwarded-For but `trustProxy` is off. All
 * clients then have the proxy's address and share its limits. Returns undefined if `trustProxy` is
 * set.
 */
export function forwardedForWarning (app: FastifyInstance): ((request: FastifyRequest) => void) | undefined {
  if (serverOptions(app)?.trustProxy) return undefined
  let isTold = false
  return ({ raw: { rawHeaders } }) => {
    if (isTold || !hasForwardedFor(rawHeaders)) return
    isTold = true
    app.log.warn(
      'tenancy: a request has X-Forwarded-For, and trustProxy is off: all clients share the ' +
        "limits and look-ups of the proxy's address; create the app with Fastify({ trustProxy: " +
        "'10.0.0.0/8' }), with the addresses of the proxies"
    )
  }
}

// Reads the raw list, because building an object of all headers costs more than the rest of this
// check.
function hasForwardedFor (headers: readonly string[]): boolean {
  for (let at = 0; at < headers.length; at += 2) {
    const name = headers[at] as string
    if (name.length === 15 && name.toLowerCase() === 'x-forwarded-for') return true
  }
  return false
}
