import Fastify, { type FastifyInstance } from 'fastify'
import tenancy from 'fastify-tenancy'

import type { Options } from './options.ts'

const body = {
  type: 'object',
  required: ['name'],
  additionalProperties: false,
  properties: { name: { type: 'string', minLength: 1, maxLength: 200 } }
}

/** Returns the application. It is the same for every strategy. */
export async function buildApp ({ options }: Options, logger = true): Promise<FastifyInstance> {
  const app = Fastify({ logger })
  await app.register(tenancy, { ...options, baseDomain: 'localhost' })

  app.get('/where', ({ tenant }) => ({ slug: tenant.slug, isolation: tenant.isolation }))

  app.get('/projects', async ({ db }) => ({
    projects: await db.selectFrom('projects').select(['id', 'name']).orderBy('name').execute()
  }))

  app.post<{ Body: { name: string } }>('/projects', { schema: { body } }, async ({ db, body }, reply) => {
    reply.code(201)
    return db.insertInto('projects').values(body).returning(['id', 'name']).executeTakeFirstOrThrow()
  })
  return app
}
