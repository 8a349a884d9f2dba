import type { FastifyInstance } from 'fastify'

import { NotFound, PlanTooSmall } from '../errors.ts'
import { object } from './schemas.ts'

const columns = ['id', 'name', 'created_at as createdAt'] as const
const mostProjects = { free: 3, pro: 1_000 }

/** No line here names a tenant: `request.db` reaches only the request's tenant. */
export function projectRoutes (app: FastifyInstance): void {
  app.get('/projects', async ({ db }) => ({
    projects: await db.selectFrom('projects').select(columns).orderBy('created_at').execute()
  }))

  app.get<{ Params: { id: string } }>('/projects/:id', {
    schema: { params: object('id') }
  }, async ({ db, params }) => {
    const project = await db.selectFrom('projects').select(columns).where('id', '=', params.id)
      .executeTakeFirst()
    if (project === undefined) throw new NotFound('project')
    return project
  })

  app.post<{ Body: { name: string } }>('/projects', {
    schema: { summary: 'Make a project', body: object('name') }
  }, async ({ db, tenant, body }, reply) => {
    const { count } = await db.selectFrom('projects').select(eb => eb.fn.countAll<string>().as('count'))
      .executeTakeFirstOrThrow()
    if (Number(count) >= mostProjects[tenant.plan as keyof typeof mostProjects])
      throw new PlanTooSmall(tenant.plan)
    const project = await db.insertInto('projects').values(body).returning(columns).executeTakeFirstOrThrow()
    return reply.code(201).send(project)
  })
}
