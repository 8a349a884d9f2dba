import Fastify, { type FastifyInstance } from 'fastify'
import type pg from 'pg'

import { byId, newTask, notFound } from './shapes.ts'

declare module 'fastify' {
  interface FastifyRequest {
    org: string
  }
}

/** The application before there were tenants. Each query must name the organization itself. */
export async function oldApp (pool: pg.Pool, logger = true): Promise<FastifyInstance> {
  const app = Fastify({ logger })
  app.decorateRequest('org', '')
  app.addHook('onRequest', async request => {
    const [slug] = request.hostname.split('.')
    const { rows: [found] } = await pool.query<{ id: string }>(
      'select id from organizations where slug = $1',
      [slug]
    )
    if (found === undefined) throw notFound()
    request.org = found.id
  })

  app.get(
    '/projects',
    async ({ org }) =>
      (await pool.query('select id, name from projects where org_id = $1 order by name', [org])).rows
  )

  app.get('/tasks', async ({ org }) =>
    (await pool.query(
      `select tasks.id, title from tasks join projects on projects.id = project_id
       where org_id = $1 order by title`,
      [org]
    )).rows)

  // The mistake that this application has: the query forgets the organization.
  app.get<{ Params: { id: string } }>('/tasks/:id', byId, async ({ params }) => {
    const { rows: [task] } = await pool.query('select id, title from tasks where id = $1', [params.id])
    return task ?? notFound()
  })

  app.post<{ Body: { project: string; title: string } }>('/tasks', newTask, async ({ body }, reply) => {
    reply.code(201)
    const { rows } = await pool.query(
      'insert into tasks (project_id, title) values ($1, $2) returning id, title',
      [body.project, body.title]
    )
    return rows[0] as object
  })
  return app
}
