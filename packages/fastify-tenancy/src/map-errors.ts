import type { TenancyError } from '@fastify-tenancy/core'
import { toHttpError } from '@fastify-tenancy/database'
import type { FastifyInstance, FastifyRequest } from 'fastify'

/**
 * Has Fastify's own error handler see `toHttpError(error)`, so that a reply holds nothing of the database's text.
 * Per route, before the instance's handler: setting that one would take the place of the application's, or be taken by it.
 * An application with an error handler of its own gets errors as they were thrown.
 */
export function mapErrors (app: FastifyInstance): void {
  const answered = new WeakSet<FastifyRequest>()
  app.addHook('onRoute', route => {
    route.errorHandler ??= (error, request, reply) => {
      answered.add(request)
      void reply.send(hasOwnHandler(request) ? error : toHttpError(error))
    }
  })
  // Some errors go past the error handler: a not-found handler is no route and takes none, and an onSend hook that
  // fails again with the reply for its first failure is answered by Fastify alone. There the error itself is made what a client may see.
  // A callback: every 429 comes through here, and a promise would put its reply off.
  app.addHook('onError', (request, _reply, error, done) => {
    if ((request.is404 || answered.has(request)) && !hasOwnHandler(request)) disguise(request, error)
    done()
  })
}

function disguise (request: FastifyRequest, error: Error): void {
  const shown = toHttpError(error)
  if (shown === error) return
  request.log.error({ err: error }, 'an error of the database came past the error handler')
  for (const key of Object.keys(error)) Reflect.deleteProperty(error, key)
  const { message, statusCode, code, headers } = shown as TenancyError
  Object.assign(error, { message, statusCode, code, headers })
}

function hasOwnHandler (request: FastifyRequest): boolean {
  return request.server.errorHandler.name !== 'defaultErrorHandler'
}
