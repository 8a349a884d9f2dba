/*:: import type { FastifyInstance } from 'fastify'

import './schema.js'

type WithId = { Params: { id: string } }
type WithName = { Body: { name: string } }
type WithTitle = { Body: { title: string } }
*/
// No route names a tenant: `request.db` and `request.cache` are those of the request's tenant.
export async function projects (app/*: FastifyInstance */)/*: Promise<void> */ {
  app.get('/projects', ({ db }) =>
    db.selectFrom('projects').select(project).orderBy('created_at').execute())

  app.post/*:: <WithName>*/('/projects', { schema: { body: text('name') } }, async ({ db, body }, reply) => {
    const created = await db.insertInto('projects').values({ name: body.name })
      .returning(project).executeTakeFirst()
    return reply.code(201).send(created)
  })

  app.get/*:: <WithId>*/('/projects/:id', { schema: { params: id } }, async ({ db, params }, reply) => {
    const found = await db.selectFrom('projects').select(project)
      .where('id', '=', params.id).executeTakeFirst()
    return found ?? reply.callNotFound()
  })

  app.get/*:: <WithId>*/('/projects/:id/tasks', { schema: { params: id } }, ({ db, params }) =>
    db.selectFrom('tasks').select(task)
      .where('project_id', '=', params.id).orderBy('created_at').execute())

  // A project of another tenant does not exist here, so the foreign key refuses it: 422.
  app.post/*:: <WithId & WithTitle>*/(
    '/projects/:id/tasks',
    { schema: { params: id, body: text('title') } },
    async ({ db, params, body }, reply) => {
      const created = await db.insertInto('tasks').values({ project_id: params.id, title: body.title })
        .returning(task).executeTakeFirst()
      return reply.code(201).send(created)
    }
  )
}

const project = ['id', 'name', 'created_at as createdAt']/*::  as const */
const task = ['id', 'title', 'created_at as createdAt']/*::  as const */
const id = { type: 'object', properties: { id: { type: 'string', format: 'uuid' } } }

function text (property/*: string */)/*: object */ {
  return {
    type: 'object',
    required: [property],
    additionalProperties: false,
    properties: { [property]: { type: 'string', minLength: 1, maxLength: 200 } }
  }
}
