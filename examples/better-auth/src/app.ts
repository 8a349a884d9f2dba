import { createManager } from '@fastify-tenancy/manager'
import { fromNodeHeaders } from 'better-auth/node'
import Fastify, { type FastifyInstance } from 'fastify'
import { openPool, tableRegistry, tenancy } from 'fastify-tenancy'

import { authRoutes } from './auth-routes.ts'
import { authOf, migrateAuth } from './auth.ts'

const tables = `
  create table if not exists projects (
    tenant_id text not null,
    id uuid not null default gen_random_uuid(),
    name text not null,
    primary key (tenant_id, id)
  )`
const body = {
  type: 'object',
  required: ['name'],
  additionalProperties: false,
  properties: { name: { type: 'string', minLength: 1, maxLength: 200 } }
}

export async function buildApp (
  databaseUrl: string,
  secret: string,
  logger = true
): Promise<FastifyInstance> {
  // One pool for everything: an embedded database has a single connection. On a server, better-auth
  // gets a login and a schema of its own.
  const pool = openPool(databaseUrl)
  const options = { database: pool, rls: { secret }, tables: { tenant: ['projects'] } }
  const app = Fastify({ logger })
  const auth = authOf(pool, secret, id => app.tenancy.invalidate({ id }))
  await migrateAuth(auth)
  const manager = createManager(options)
  await manager.init()
  await pool.query(tables)
  await manager.protect()
  await manager.close()

  app.addHook('onClose', () => pool.end())
  await app.register(tenancy, {
    ...options,
    baseDomain: 'localhost',
    // An organization is a tenant as soon as better-auth has made it.
    registry: tableRegistry({
      table: 'public.organization',
      columns: { id: 'id', slug: 'slug', name: 'name', createdAt: 'createdAt' }
    }),
    // The user must be a member of the organization that the host names.
    resolver: { claim: request => request.member?.organization }
  })
  authRoutes(app, auth)

  app.decorateRequest('member', undefined)
  await app.register(async members => {
    members.addHook('onRequest', async (request, reply) => {
      const session = await auth.api.getSession({ headers: fromNodeHeaders(request.headers) })
      if (session === null) return reply.code(401).send({ message: 'Sign in first' })
      // Looked up each time, so a membership that ends today ends access today.
      const { rows: [found] } = await pool.query<{ role: string }>(
        'select role from member where "userId" = $1 and "organizationId" = $2',
        [session.user.id, request.tenant.id]
      )
      if (found !== undefined)
        request.member = { user: session.user.id, role: found.role, organization: request.tenant.id }
    })

    members.get('/me', ({ tenant, member }) => ({ organization: tenant.name, role: member?.role }))
    members.get('/projects', ({ db }) => db.selectFrom('projects').select(['id', 'name']).execute())
    members.post<{ Body: { name: string } }>(
      '/projects',
      { schema: { body } },
      async ({ db, body }, reply) => {
        reply.code(201)
        return db.insertInto('projects').values(body).returning(['id', 'name']).executeTakeFirstOrThrow()
      }
    )
  })
  return app
}
