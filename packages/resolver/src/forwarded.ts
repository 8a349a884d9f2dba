import { OptionInvalidError } from '@fastify-tenancy/core'
import proxyAddr from '@fastify/proxy-addr'
import type { FastifyInstance, FastifyRequest } from 'fastify'

import { readHost } from './host.ts'

/**
 * Returns the text that names a request's host, for `parseHost()`. Returns undefined if the request
 * has no host or more than one.
 */
export type HostReader = (request: FastifyRequest) => string | undefined

/** Reads Host only. */
export const readDirect: HostReader = request => readHost(request.raw)

/**
 * Reads `X-Forwarded-Host` from a peer that the application trusts, and Host from any other peer.
 * Of several values the last one counts, because the trusted peer wrote it. A client may have sent
 * the earlier values.
 *
 * @throws FST_TENANCY_OPTION_INVALID unless `trustProxy` names addresses: `true` or a number of
 * hops would trust every client.
 */
export function readForwarded (app: FastifyInstance): HostReader {
  const isTrusted = trustOf(app)
  return request => {
    const forwarded = request.headers['x-forwarded-host']
    if (forwarded === undefined) return readHost(request.raw)
    const peer = request.raw.socket.remoteAddress
    if (peer === undefined ? !isUnixSocket(app) : !isTrusted(peer, 0)) return readHost(request.raw)
    const text = Array.isArray(forwarded) ? forwarded.join(',') : forwarded
    return text.slice(text.lastIndexOf(',') + 1).trim()
  }
}

// A peer on a Unix socket has no address and is the proxy, because the file's permissions admit
// only the proxy. A TCP socket has no address once it is closed.
function isUnixSocket (app: FastifyInstance): boolean {
  return typeof app.server.address() === 'string'
}

function trustOf (app: FastifyInstance): (address: string, hop: number) => boolean {
  const trust = serverOptions(app)?.trustProxy
  if (typeof trust === 'function') return trust
  if (typeof trust === 'string') return proxyAddr.compile(trust.split(',').map(part => part.trim()))
  if (Array.isArray(trust)) return proxyAddr.compile(trust)
  throw new OptionInvalidError(
    'trustForwardedHost needs the addresses of your proxies: create the app with Fastify({ ' +
      "trustProxy: '10.0.0.0/8' }), instead of true or a number"
  )
}

type Trust = boolean | number | string | string[] | ((address: string, hop: number) => boolean)

/**
 * Returns the options that the server was created with, because `app.initialConfig` omits
 * trustProxy. If Fastify renames this symbol, boot fails as it does without trustProxy.
 */
export function serverOptions (app: FastifyInstance): { trustProxy?: Trust } | undefined {
  for (let at: object | null = app; at !== null; at = Object.getPrototypeOf(at) as object | null) {
    const key = Object.getOwnPropertySymbols(at).find(symbol => symbol.description === 'fastify.options')
    if (key !== undefined) return (at as Record<symbol, { trustProxy?: Trust }>)[key]
  }
  return undefined
}
