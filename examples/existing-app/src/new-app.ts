import Fastify, { type FastifyInstance } from 'fastify'
import tenancy from 'fastify-tenancy'
import type pg from 'pg'

import options from '../tenancy.config.ts'
import { byId, newTask, notFound } from './shapes.ts'

/**
 * The application with tenants. No query names one.
 *
 * @param oldPool the pool of the old login, as long as a route still uses it. The suite reports each
 *   query on it that will break.
 */
export async function newApp (oldPool?: pg.Pool, logger = true): Promise<FastifyInstance> {
  const app = Fastify({ logger })
  const database = { ...options.database as object, ...(oldPool !== undefined && { observe: [oldPool] }) }
  await app.register(tenancy, { ...options, database: database as typeof options.database })

  app.get('/projects', ({ db }) => db.selectFrom('projects').select(['id', 'name']).orderBy('name').execute())

  // The last route of the old code. Without `oldPool` it is converted.
  app.get('/tasks', async ({ db, tenant }) =>
    oldPool === undefined
      ? db.selectFrom('tasks').select(['id', 'title']).orderBy('title').execute()
      : (await oldPool.query('select id, title from tasks where tenant_id = $1 order by title', [tenant.id]))
        .rows)

  app.get<{ Params: { id: string } }>(
    '/tasks/:id',
    byId,
    async ({ db, params }) =>
      await db.selectFrom('tasks').select(['id', 'title']).where('id', '=', params.id).executeTakeFirst() ??
        notFound()
  )

  app.post<{ Body: { project: string; title: string } }>('/tasks', newTask, async ({ db, body }, reply) => {
    reply.code(201)
    // A project of another tenant does not exist, so it inserts no row.
    const task = await db.insertInto('tasks').columns(['project_id', 'title'])
      .expression(eb =>
        eb.selectFrom('projects').select(eb => ['id as project_id', eb.val(body.title).as('title')])
          .where('id', '=', body.project)
      ).returning(['id', 'title']).executeTakeFirst()
    return task ?? notFound()
  })
  return app
}
