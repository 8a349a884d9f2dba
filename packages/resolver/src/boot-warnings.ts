import type { FastifyInstance, FastifyRequest } from 'fastify'

import { serverOptions } from './forwarded.ts'

/**
 * Says at boot that the suite serves a part of the application only: a plugin file without `fastify-plugin`, as autoload takes it,
 * keeps hooks and decorators to itself.
 */
export function warnOfEncapsulation (app: FastifyInstance): void {
  if (Object.getPrototypeOf(app) === Object.prototype) return
  app.log.warn(
    'tenancy: it is registered inside a plugin that keeps it to itself, so that routes outside have no tenant: wrap that plugin with fastify-plugin, unless this is meant'
  )
}

/**
 * What tells once that a proxy names its clients and the application does not listen: all clients then have the proxy's address,
 * and share its limits. Undefined where `trustProxy` is set.
 */
export function forwardedForWarning (app: FastifyInstance): ((request: FastifyRequest) => void) | undefined {
  if (serverOptions(app)?.trustProxy) return undefined
  let isTold = false
  return ({ raw: { rawHeaders } }) => {
    if (isTold || !hasForwardedFor(rawHeaders)) return
    isTold = true
    app.log.warn(
      "tenancy: a request came with X-Forwarded-For, and trustProxy is off: limits and look-ups per client address count the proxy, so that all clients share one; create the app with Fastify({ trustProxy: '10.0.0.0/8' }), the addresses of the proxies"
    )
  }
}

// Without making an object of all headers, which costs more than the rest.
function hasForwardedFor (headers: readonly string[]): boolean {
  for (let at = 0; at < headers.length; at += 2) {
    const name = headers[at] as string
    if (name.length === 15 && name.toLowerCase() === 'x-forwarded-for') return true
  }
  return false
}
