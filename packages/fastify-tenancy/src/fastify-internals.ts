import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Server } from 'node:http'

/*
 * What Fastify keeps to itself and the suite builds on, in one place, so that a new version of Fastify is
 * checked against one file. Each is found by the description of its symbol.
 */

/** An error handler; the one that it falls back to is its prototype. */
interface HandlerLink {
  func: ErrorHandler
}

/** Called by Fastify with whatever was thrown. */
export type ErrorHandler = (error: FastifyError, request: FastifyRequest, reply: FastifyReply) => unknown

/**
 * Puts `wrap(handler)` in the place of Fastify's own error handler. It runs where that one would: behind
 * the error handlers of routes and plugins, whenever those were or will be set, and without counting as one
 * of them.
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
  // As a link of the chain it would come before Fastify's own, which then runs twice: it takes its place.
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

/** The servers of the addresses behind the first: `localhost` is listened to on each of its addresses. */
export function furtherServers (app: FastifyInstance): readonly Server[] {
  return (app as unknown as Record<symbol, readonly Server[]>)[symbolOf(app, 'fastify.serverBindings')] ?? []
}

function symbolOf (app: FastifyInstance, description: string): symbol {
  for (let each: object = app; each !== null; each = Object.getPrototypeOf(each) as object) {
    const symbol = Object.getOwnPropertySymbols(each).find(own => own.description === description)
    if (symbol !== undefined) return symbol
  }
  throw new Error(
    `fastify-tenancy does not work with this version of Fastify, which has no ${description}: use the version that its package.json asks for`
  )
}
