import { toHttpError } from '@fastify-tenancy/database'
import type { FastifyInstance } from 'fastify'

/**
 * Has Fastify's own error handler see `toHttpError(error)`, so that a reply holds nothing of the database's text.
 * Per route, before the instance's handler: setting that one would take the place of the application's, or be taken by it.
 * An application with an error handler of its own gets errors as they were thrown.
 */
export function mapErrors (app: FastifyInstance): void {
  app.addHook('onRoute', route => {
    route.errorHandler ??= (error, request, reply) => {
      const isOwn = request.server.errorHandler.name !== 'defaultErrorHandler'
      void reply.send(isOwn ? error : toHttpError(error))
    }
  })
}
