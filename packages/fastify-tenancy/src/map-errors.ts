import type { TenancyError } from '@fastify-tenancy/core'
import { toHttpError } from '@fastify-tenancy/database'
import type { FastifyError, FastifyInstance, FastifyRequest } from 'fastify'

import { wrapDefaultErrorHandler } from './fastify-internals.ts'

/**
 * Makes Fastify's default error handler receive `toHttpError(error)`, so that replies contain no
 * text of the database. Error handlers of the application receive every error as it was thrown.
 */
export function mapErrors (app: FastifyInstance): void {
  const answered = new WeakSet<FastifyRequest>()
  wrapDefaultErrorHandler(app, handler => (error, request, reply) => {
    answered.add(request)
    // The client has gone, so this is not a failure of the server.
    if (!request.raw.aborted) return handler(toHttpError(error) as FastifyError, request, reply)
    request.log.info({ err: error }, 'the client has gone before its reply')
    return reply.code(clientClosedRequest).send()
  })
  // An onSend hook that fails again during the error reply bypasses the error handlers. So the
  // error itself is changed here. A callback hook, because every 429 passes here.
  app.addHook('onError', (request, _reply, error, done) => {
    if (answered.has(request)) disguise(request, error)
    done()
  })
}

/** The status that servers log for a request whose client closed the connection. */
const clientClosedRequest = 499

function disguise (request: FastifyRequest, error: Error): void {
  const shown = toHttpError(error)
  if (shown === error) return
  request.log.error({ err: error }, 'an error of the database bypassed the error handler')
  for (const key of Object.keys(error)) Reflect.deleteProperty(error, key)
  const { message, statusCode, code, headers } = shown as TenancyError
  Object.assign(error, { message, statusCode, code, headers })
}
