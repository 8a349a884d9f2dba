// Two more applications: a noisy one that keeps its tenants apart, and one with further kinds of leaks.
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import tenancy from 'fastify-tenancy'
import type { Kysely } from 'kysely'
import { createHash } from 'node:crypto'
import { request as send } from 'node:http'
import { gzipSync } from 'node:zlib'
import type { Test } from 'tap'

import { secret, tables, type World } from './kit-world.ts'

interface Tables {
  projects: { id: string; name: string; created_at: Date }
  members: { id: string; email: string }
}

const db = (request: FastifyRequest): Kysely<Tables> => request.db as unknown as Kysely<Tables>
const names = (request: FastifyRequest): Promise<{ name: string }[]> =>
  db(request).selectFrom('projects').select('name').orderBy('id').limit(20).execute()

async function base (t: Test, { url }: World, limits?: object): Promise<FastifyInstance> {
  const app = Fastify({ logger: { level: 'info', stream: { write () {} } } })
  t.teardown(() => app.close())
  await app.register(tenancy, {
    baseDomain: 'example.com',
    database: { url, pool: { max: 4 } },
    rls: { secret },
    tables,
    ...(limits !== undefined && { rateLimit: { limits } })
  })
  return app
}

/** Times, request ids, random values, per-tenant counters, limits: nothing of it is a leak. */
export async function noisyApp (t: Test, world: World): Promise<FastifyInstance> {
  const app = await base(t, world, { default: { rpm: 1_000_000 } })
  const began = Date.now()
  const visits = new Map<string, number>()
  app.addHook('onRequest', async (request, reply) => {
    reply.header('x-request-id', request.id).header('x-response-time', `${Math.round(performance.now())}ms`)
  })
  app.get('/status', async request => ({
    uptime: Math.floor((Date.now() - began) / 1_000),
    now: new Date().toISOString(),
    random: Math.random(),
    request: request.id,
    memory: process.memoryUsage().heapUsed
  }))
  app.get('/visits', async ({ tenant }) => {
    visits.set(tenant.id, (visits.get(tenant.id) ?? 0) + 1)
    return { visits: visits.get(tenant.id) }
  })
  app.get('/names', async (request, reply) => {
    const list = await names(request)
    reply.header('etag', `"${createHash('sha256').update(JSON.stringify(list)).digest('hex')}"`)
    reply.header('cache-control', 'private, max-age=60').header('set-cookie', `visit=${request.id}`)
    return { page: 1, limit: 20, list }
  })
  app.get('/locale', async (_request, reply) => {
    reply.header('cache-control', 'public, max-age=3600')
    return { hello: 'Welcome to this application' }
  })
  app.post<{ Body: { email: string; level: string } }>('/members', {
    schema: {
      body: {
        type: 'object',
        required: ['email'],
        additionalProperties: false,
        properties: { email: { type: 'string', format: 'email' }, level: { enum: ['owner', 'guest'] } }
      }
    }
  }, async (request, reply) => {
    const made = await db(request).insertInto('members').values({ email: request.body.email } as never)
      .onConflict(oc => oc.doNothing()).returning('id').executeTakeFirst()
    return reply.code(made === undefined ? 409 : 201).send({ email: request.body.email, number: visits.size })
  })
  app.put<{ Params: { key: string }; Body: { value: string } }>('/settings/:key', {
    schema: { body: { type: 'object', properties: { value: { type: 'string', maxLength: 50 } } } }
  }, async ({ cache, params, body }) => {
    await cache.set(params.key, body.value)
    return { key: params.key, value: body.value }
  })
  app.get<{ Params: { key: string } }>(
    '/settings/:key',
    async ({ cache, params }) => ({ value: await cache.get(params.key) ?? null })
  )
  app.delete<{ Params: { id: string } }>('/members/:id', async (request, reply) => {
    if (!/^[0-9a-f-]{36}$/.test(request.params.id)) return reply.code(404).send()
    await db(request).deleteFrom('members').where('id', '=', request.params.id).execute()
    return reply.code(204).send()
  })
  return app
}

/** The leaks of {@link otherApp}, with what the report says of each. */
export const others: Record<string, RegExp> = {
  'a variable that the next request overwrites': /GET \/race leaks/,
  'an undocumented flag': /GET \/flag leaks .* in the body/,
  'a wildcard in a pattern': /GET \/pattern leaks .* in the body/,
  'a cursor that names the tenant': /GET \/page leaks .* in the body/,
  'a page of the not-found handler': /GET \/a-route-that-does-not-exist\/:id leaks .* in the body/,
  'a limit that all tenants share':
    /GET \/limited leaks the reply depends on the victim's data: header x-left/,
  'a setting of the process': /GET \/theme leaks/,
  'a compressed file': /GET \/file leaks .* in the body/,
  'a nested id in a list': /POST \/move leaks/,
  'a request by node:http': /outgoing requests leaks/,
  'a plain max-age': /GET \/cached leaks a shared cache may keep/,
  "an operator's page": /GET \/metrics leaks .*tenant\.slug/,
  'a body with an operation': /POST \/query leaks .* in the body/,
  'an id that is known': /POST \/check leaks the reply tells that the victim has members\.email/
}

export async function otherApp (t: Test, world: World): Promise<FastifyInstance> {
  const { pool } = world
  const app = await base(t, world)
  const every = async (): Promise<{ id: string; name: string; tenant_id: string }[]> =>
    (await pool.query('select * from projects order by created_at desc limit 200')).rows
  let current = ''
  app.get('/race', async request => {
    current = request.tenant.slug
    await names(request)
    return { hello: current }
  })
  app.get<{ Querystring: { everything?: string } }>(
    '/flag',
    async request => request.query.everything === undefined ? names(request) : every()
  )
  app.get<{ Querystring: { q?: string } }>('/pattern', {
    schema: { querystring: { type: 'object', properties: { q: { type: 'string' } } } }
  }, async request => request.query.q === '*' ? every() : names(request))
  app.get<{ Querystring: { cursor?: string } }>('/page', async ({ query, tenant }) => {
    const { of } = JSON.parse(Buffer.from(query.cursor ?? '', 'base64url').toString() || '{}') as {
      of?: string
    }
    const { rows } = await pool.query(
      'select name from projects where tenant_id::text = $1 order by created_at limit 3',
      [of ?? tenant.id]
    )
      .catch(() => ({ rows: [] }))
    return { rows, next: Buffer.from(JSON.stringify({ of: tenant.id })).toString('base64url') }
  })
  app.setNotFoundHandler(async (_request, reply) =>
    reply.code(404).send({ similar: (await every()).slice(0, 100).map(({ name }) => name) })
  )
  let left = 1_000_000
  app.get('/limited', async (_request, reply) => reply.header('x-left', String(--left)).send({ done: true }))
  let theme = 'light'
  app.get('/theme', async () => ({ theme }))
  app.put<{ Body: { theme: string } }>('/theme', {
    schema: { body: { type: 'object', properties: { theme: { type: 'string' } } } }
  }, async ({ body }) => {
    theme = body.theme
    return { done: true }
  })
  app.get(
    '/file',
    async (_request, reply) =>
      reply.header('content-type', 'application/gzip').send(
        gzipSync((await every()).map(({ name }) => name).join('\n'))
      )
  )
  app.post<{ Body: { items: { project: { id: string } }[] } }>('/move', {
    schema: {
      body: {
        type: 'object',
        required: ['items'],
        properties: {
          items: {
            type: 'array',
            items: {
              type: 'object',
              properties: {
                project: { type: 'object', properties: { id: { type: 'string', format: 'uuid' } } }
              }
            }
          }
        }
      }
    }
  }, async ({ body }) => {
    const ids = body.items.map(item => item.project?.id)
    return { moved: (await pool.query('select name from projects where id = any ($1::uuid[])', [ids])).rows }
  })
  app.post('/notify', { schema: { body: { type: 'object', properties: {} } } }, async () => {
    const request = send({ host: '127.0.0.1', port: 9, method: 'POST', path: '/hook' })
    request.on('error', () => {})
    request.end(JSON.stringify((await every()).slice(0, 100)))
    return { done: true }
  })
  app.get('/cached', async (request, reply) => {
    reply.header('cache-control', 'max-age=30')
    return names(request)
  })
  const requests = new Map<string, number>()
  app.addHook('onResponse', async ({ tenant }) => {
    if (tenant !== undefined) requests.set(tenant.slug, (requests.get(tenant.slug) ?? 0) + 1)
  })
  app.get(
    '/metrics',
    { config: { tenancy: 'off' } },
    async () => [...requests].map(([slug, count]) => `requests_total{tenant="${slug}"} ${count}`).join('\n')
  )
  app.post<{ Body: { operation: string; variables: { id?: string } } }>('/query', {
    schema: {
      body: {
        type: 'object',
        required: ['operation'],
        properties: {
          operation: { enum: ['list', 'project'] },
          variables: { type: 'object', additionalProperties: true }
        }
      }
    }
  }, async request => {
    const { operation, variables } = request.body
    if (operation === 'list') return { data: await names(request) }
    const id = variables?.id
    return {
      data: id === undefined
        ? null
        : (await pool.query('select name from projects where id::text = $1', [id])).rows
    }
  })
  app.post<{ Body: { email: string } }>(
    '/check',
    { schema: { body: { type: 'object', properties: { email: { type: 'string' } } } } },
    async ({ body }) => ({
      isFree: (await pool.query('select from members where email = $1', [body.email])).rowCount === 0
    })
  )
  return app
}
