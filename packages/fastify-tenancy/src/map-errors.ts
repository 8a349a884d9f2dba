import type { TenancyError } from '@fastify-tenancy/core'
import { toHttpError } from '@fastify-tenancy/database'
import type { FastifyError, FastifyInstance, FastifyRequest } from 'fastify'

import { wrapDefaultErrorHandler } from './fastify-internals.ts'

/**
 * Has Fastify's own error handler see `toHttpError(error)`, so that a reply holds nothing of the database's text.
 * All else reaches it as it was thrown, and error handlers of the application get every error as it was thrown.
 */
export function mapErrors (app: FastifyInstance): void {
  const answered = new WeakSet<FastifyRequest>()
  wrapDefaultErrorHandler(app, handler => (error, request, reply) => {
    answered.add(request)
    // The answer goes nowhere, so it is no failure of the server's.
    if (!request.raw.aborted) return handler(toHttpError(error) as FastifyError, request, reply)
    request.log.info({ err: error }, 'the client has gone before its reply')
    return reply.code(clientClosedRequest).send()
  })
  // An onSend hook that fails again with the reply for its first failure goes past the error handlers: there the error itself
  // is made what a client may see. A callback, because every 429 comes through here.
  app.addHook('onError', (request, _reply, error, done) => {
    if (answered.has(request)) disguise(request, error)
    done()
  })
}

/** As servers log a request whose client has closed the connection. */
const clientClosedRequest = 499

function disguise (request: FastifyRequest, error: Error): void {
  const shown = toHttpError(error)
  if (shown === error) return
  request.log.error({ err: error }, 'an error of the database came past the error handler')
  for (const key of Object.keys(error)) Reflect.deleteProperty(error, key)
  const { message, statusCode, code, headers } = shown as TenancyError
  Object.assign(error, { message, statusCode, code, headers })
}
