import createError from '@fastify/error'
import type { FastifyInstance, FastifyRequest } from 'fastify'

const NotFound = createError<[string]>('NOT_FOUND', 'There is no such %s', 404)
const uuid = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

type WithId = { Params: { id: string } }

/**
 * No line here names a tenant: `request.db` and `request.cache` reach only the request's tenant.
 */
export function routes (app: FastifyInstance): void {
  app.get('/health', { config: { tenancy: 'off' } }, () => ({ status: 'ok' }))

  app.setNotFoundHandler(() => {
    throw new NotFound('route')
  })

  app.get('/me', ({ tenant }) => {
    const { id, slug, name, plan } = tenant
    return { id, slug, name, plan }
  })

  app.get('/projects', async ({ db }) => ({
    projects: await db.selectFrom('projects').select(project).orderBy('created_at').orderBy('id').execute()
  }))

  app.post<{ Body: { name: string } }>(
    '/projects',
    { schema: { body: text('name') } },
    async (request, reply) => {
      const created = await request.db.insertInto('projects').values({ name: request.body.name }).returning(
        project
      ).executeTakeFirstOrThrow()
      await forgetStats(request)
      return reply.code(201).send(created)
    }
  )

  app.get<WithId>('/projects/:id', async ({ db, params }) => {
    const found = await db.selectFrom('projects').select(project).where('id', '=', id(params.id))
      .executeTakeFirst()
    return found ?? notFound()
  })

  app.patch<WithId & { Body: { name: string } }>(
    '/projects/:id',
    { schema: { body: text('name') } },
    async ({ db, params, body }) => {
      const changed = await db.updateTable('projects').set({ name: body.name }).where(
        'id',
        '=',
        id(params.id)
      ).returning(project).executeTakeFirst()
      return changed ?? notFound()
    }
  )

  app.delete<WithId>('/projects/:id', async (request, reply) => {
    const deleted = await request.db.deleteFrom('projects').where('id', '=', id(request.params.id)).returning(
      'id'
    ).executeTakeFirst()
    if (deleted === undefined) notFound()
    await forgetStats(request)
    return reply.code(204).send()
  })

  app.get<WithId>('/projects/:id/tasks', async ({ db, params }) => {
    const found = await db.selectFrom('projects').select('id').where('id', '=', id(params.id))
      .executeTakeFirst()
    if (found === undefined) notFound()
    return {
      tasks: await db.selectFrom('tasks').select(task).where('project_id', '=', params.id).orderBy(
        'created_at'
      ).orderBy('id').execute()
    }
  })

  app.post<WithId & { Body: { title: string } }>(
    '/projects/:id/tasks',
    { schema: { body: text('title') } },
    async (request, reply) => {
      const { db, params, body } = request
      // A project that does not exist inserts no row. Another tenant's project does not exist
      // either.
      const created = await db.insertInto('tasks').columns(['project_id', 'title'])
        .expression(eb =>
          eb.selectFrom('projects').select(eb => ['id as project_id', eb.val(body.title).as('title')]).where(
            'id',
            '=',
            id(params.id)
          )
        )
        .returning(task).executeTakeFirst()
      if (created === undefined) notFound()
      await forgetStats(request)
      return reply.code(201).send(created)
    }
  )

  app.get('/stats', ({ db, cache }) =>
    cache.wrap('stats', async () => {
      const { projects, tasks } = await db.selectNoFrom(eb => [
        eb.selectFrom('projects').select(eb => eb.fn.countAll<string>().as('n')).as('projects'),
        eb.selectFrom('tasks').select(eb => eb.fn.countAll<string>().as('n')).as('tasks')
      ]).executeTakeFirstOrThrow()
      return { projects: Number(projects), tasks: Number(tasks) }
    }))
}

const project = ['id', 'name', 'created_at as createdAt'] as const
const task = ['id', 'title', 'created_at as createdAt'] as const

function text (property: string): object {
  return {
    type: 'object',
    required: [property],
    additionalProperties: false,
    properties: { [property]: { type: 'string', minLength: 1, maxLength: 200 } }
  }
}

async function forgetStats ({ cache }: FastifyRequest): Promise<void> {
  // In an outage of Redis, which the cache logs, the row is still written. The count is then wrong
  // until it expires.
  await cache.delete('stats').catch(() => {})
}

/** Schema of a project's id. An id that is no uuid belongs to no project. */
function id (given: string): string {
  return uuid.test(given) ? given : notFound()
}

function notFound (): never {
  throw new NotFound('project')
}
