import Fastify/*::, { type FastifyInstance, type FastifyServerOptions } */ from 'fastify'
import tenancy/*::, { type TenancyOptions } */ from 'fastify-tenancy'

import config from '../tenancy.config.js'
import { projects } from './projects.js'

/**
 * Returns the application: the suite first, then every route.
// #if !ts
 *
 * @param {import('fastify-tenancy').TenancyOptions} options
 * @param {import('fastify').FastifyServerOptions['logger']} logger
// #end
 */
export async function buildApp (
  options/*: TenancyOptions */ = config,
  logger/*: FastifyServerOptions['logger'] */ = true
)/*: Promise<FastifyInstance> */ {
  // PGlite may need more than Fastify's 10 seconds to start on a busy machine.
  const app = Fastify({ logger, pluginTimeout: 60_000 })
  await app.register(tenancy, options)
  app.get('/ready', { config: { tenancy: 'off' } }, (_, reply) => {
    const isReady = app.tenancy.isReady()
    return reply.code(isReady ? 200 : 503).send({ status: isReady ? 'ok' : 'not ready' })
  })
  await app.register(projects)
  return app
}
