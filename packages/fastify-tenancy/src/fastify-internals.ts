import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Server } from 'node:http'

/**
 * Internals of Fastify on which the suite depends, in one file, so that a new version of Fastify
 * can be checked against it. Each is found by the description of its symbol.
 */

/** An error handler. Its prototype is the handler that it falls back to. */
interface HandlerLink {
  func: ErrorHandler
}

/** Called by Fastify with the thrown value. */
type ErrorHandler = (error: FastifyError, request: FastifyRequest, reply: FastifyReply) => unknown

/**
 * Replaces Fastify's default error handler with `wrap(handler)`. It runs after the error handlers
 * of routes and plugins, even those set later, and does not count as one of them.
 */
export function wrapDefaultErrorHandler (
  app: FastifyInstance,
  wrap: (handler: ErrorHandler) => ErrorHandler
): void {
  const key = symbolOf(app, 'fastify.errorHandler')
  const holder = app as unknown as Record<symbol, HandlerLink>
  const first = holder[key] as HandlerLink
  let last = first
  let before: HandlerLink | undefined
  for (let next = parentOf(last); next !== undefined; next = parentOf(last)) [before, last] = [last, next]
  // Replace the link instead of adding one. An additional link would run before Fastify's own,
  // which would then run twice.
  const link: HandlerLink = Object.assign(
    Object.create(Object.getPrototypeOf(last) as object) as object,
    last,
    { func: wrap(last.func) }
  )
  if (before === undefined) holder[key] = link
  else Object.setPrototypeOf(before, link)
}

function parentOf (link: HandlerLink): HandlerLink | undefined {
  const parent = Object.getPrototypeOf(link) as HandlerLink
  return typeof parent.func === 'function' ? parent : undefined
}

/**
 * Returns the servers of further addresses. For `localhost` Fastify listens on each of its
 * addresses.
 */
export function furtherServers (app: FastifyInstance): readonly Server[] {
  return (app as unknown as Record<symbol, readonly Server[]>)[symbolOf(app, 'fastify.serverBindings')] ?? []
}

function symbolOf (app: FastifyInstance, description: string): symbol {
  for (let each: object = app; each !== null; each = Object.getPrototypeOf(each) as object) {
    const symbol = Object.getOwnPropertySymbols(each).find(own => own.description === description)
    if (symbol !== undefined) return symbol
  }
  throw new Error(
    `fastify-tenancy does not work with this version of Fastify, which has no ${description}: ` +
      'install the version in its peerDependencies'
  )
}
