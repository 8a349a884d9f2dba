import { eq } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/node-postgres'
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import { openPool, tenancy } from 'fastify-tenancy'

import * as schema from './schema.ts'
import { setUp } from './set-up.ts'

const { projects, tasks } = schema

/** Returns Drizzle for the tenant of a request. It ends with the request, so never keep it. */
function drizzleOf (request: FastifyRequest) {
  return drizzle({ client: request.tenancy.pg, schema })
}

export async function buildApp (
  databaseUrl: string,
  secret: string,
  logger = true
): Promise<FastifyInstance> {
  const database = openPool(databaseUrl)
  const options = { database, rls: { secret }, tables: { tenant: ['projects', 'tasks'] } }
  await setUp(options)

  const app = Fastify({ logger })
  app.addHook('onClose', () => database.end())
  await app.register(tenancy, { ...options, baseDomain: 'localhost' })

  app.get('/projects', request => drizzleOf(request).query.projects.findMany({ with: { tasks: true } }))

  app.get<WithId>('/projects/:id', byId, async (request, reply) => {
    const [project] = await drizzleOf(request).select().from(projects).where(
      eq(projects.id, request.params.id)
    )
    return project ?? reply.code(404).send({ message: 'There is no such project' })
  })

  // A project and its tasks, all or nothing.
  app.post<{ Body: NewProject }>('/projects', newProject, (request, reply) => {
    const { name, tasks: titles } = request.body
    reply.code(201)
    return drizzleOf(request).transaction(async tx => {
      const [project] = await tx.insert(projects).values({ name }).returning()
      if (project === undefined) throw new Error('no row was returned')
      const made = titles.length === 0
        ? []
        : await tx.insert(tasks).values(titles.map(title => ({ title, projectId: project.id }))).returning()
      return { ...project, tasks: made }
    })
  })

  app.delete<WithId>('/projects/:id', byId, async (request, reply) => {
    const deleted = await drizzleOf(request).delete(projects).where(eq(projects.id, request.params.id))
      .returning()
    return reply.code(deleted.length === 0 ? 404 : 204).send()
  })
  return app
}

interface WithId {
  Params: { id: string }
}

interface NewProject {
  readonly name: string
  readonly tasks: readonly string[]
}

const byId = {
  schema: { params: { type: 'object', properties: { id: { type: 'string', format: 'uuid' } } } }
}
const text = { type: 'string', minLength: 1, maxLength: 200 }
const newProject = {
  schema: {
    body: {
      type: 'object',
      required: ['name', 'tasks'],
      additionalProperties: false,
      properties: { name: text, tasks: { type: 'array', maxItems: 100, items: text } }
    }
  }
}
