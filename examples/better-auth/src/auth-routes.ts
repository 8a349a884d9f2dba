import { fromNodeHeaders } from 'better-auth/node'
import type { FastifyInstance } from 'fastify'

import type { Auth } from './auth.ts'

/** The routes of better-auth. Its users belong to no tenant, so these routes ask for none. */
export function authRoutes (app: FastifyInstance, auth: Auth): void {
  app.route({
    method: ['GET', 'POST'],
    url: '/api/auth/*',
    exposeHeadRoute: false,
    config: { tenancy: 'off' },
    handler: async (request, reply) => {
      const hasBody = request.body !== undefined && request.method === 'POST'
      const response = await auth.handler(
        new Request(new URL(request.url, `http://${request.host}`), {
          method: request.method,
          headers: fromNodeHeaders(request.headers),
          ...(hasBody && { body: JSON.stringify(request.body) })
        })
      )
      return reply.send(response) // Fastify sends a Response with its status and headers
    }
  })
}
