import Fastify/*::, { type FastifyInstance } */ from 'fastify'
import tenancy/*::, { type TenancyOptions } */ from 'fastify-tenancy'

import config from '../tenancy.config.js'
import { projects } from './projects.js'

/** Returns the application: the suite first, then every route. */
export async function buildApp (options/*: TenancyOptions */ = config, logger = true)/*: Promise<FastifyInstance> */ {
  const app = Fastify({ logger })
  await app.register(tenancy, options)
  app.get('/ready', { config: { tenancy: 'off' } }, (_, reply) => {
    const isReady = app.tenancy.isReady()
    return reply.code(isReady ? 200 : 503).send({ status: isReady ? 'ok' : 'not ready' })
  })
  await app.register(projects)
  return app
}
