// An application that keeps its tenants apart, and the same one with one leak of thirty.
import websocket from '@fastify/websocket'
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import tenancy from 'fastify-tenancy'
import { sql, type Kysely } from 'kysely'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import type { Test } from 'tap'

import { secret, tables, type World } from './kit-world.ts'

interface Tables {
  projects: { tenant_id: string; id: string; name: string; webhook_url: string | null }
  tasks: { tenant_id: string; id: string; project_id: string; title: string; number: number }
  members: { tenant_id: string; id: string; email: string }
}

type Id = { Params: { id: string } }

const db = (request: { db: unknown }): Kysely<Tables> => request.db as Kysely<Tables>

/** Every leak by its name, in words. What its report must say is in isolation-kit.test.ts. */
export const leaks = {
  'raw-sql': 'a list is read with raw SQL on a pool of its own, without a filter',
  'id-only': 'a row is read by its id on a pool of its own',
  'cache-key': 'a list is cached under a key without the tenant',
  'cached-count': 'a count is cached under a key without the tenant',
  'body-id': 'the tenant is taken from the body',
  'query-tenant': 'the tenant is taken from an undocumented query parameter',
  'header-tenant': 'the tenant is taken from a header',
  'owner-view': 'a view without security_invoker',
  'materialized-view': 'a materialized view of all tenants',
  'definer-function': 'a function that is security definer',
  'log-line': 'a log line with rows of all tenants',
  'error-body': 'an error body that shows the row in the way',
  'public-cache': 'a reply that a shared cache may keep',
  etag: 'an ETag over the rows of all tenants',
  'reply-header': 'a header with the newest row of all tenants',
  location: 'a redirect to the row of another tenant',
  cookie: 'a cookie with the last visitor',
  sequence: 'numbers from one sequence for all tenants',
  count: 'a count over all tenants',
  exists: 'the answer tells a row of another tenant from one that does not exist',
  unique: 'a value that another tenant has is taken',
  search: 'a search over all tenants',
  cursor: 'a cursor that holds the next row of any tenant',
  bulk: 'a bulk route that deletes by id alone',
  update: 'an update by id alone',
  download: 'a file with all rows',
  websocket: 'a websocket that sends to everybody',
  events: 'server-sent events of all tenants',
  webhook: 'a webhook to the addresses of all tenants',
  job: 'a job without an envelope',
  memory: 'what the process remembers of the last request',
  'error-cause': 'a not-found error with the names of similar rows',
  head: 'the length of a reply to HEAD'
} as const

export type Leak = keyof typeof leaks

const body = (properties: object, required: string[]): object => ({
  body: { type: 'object', additionalProperties: false, required, properties }
})
const name = { type: 'string', minLength: 1, maxLength: 200 }
const uuid = { type: 'string', format: 'uuid' }

function audience (tenant: string, isOpen: boolean): string {
  return isOpen ? 'everybody' : tenant
}

function add<T> (map: Map<string, Set<T>>, key: string, item: T): void {
  map.set(key, (map.get(key) ?? new Set()).add(item))
}

function gone (reply: FastifyReply): FastifyReply {
  return reply.code(404).send({ error: 'Not Found' })
}

/** @param switched the leaks that are on; none for the clean twin */
export async function leakyApp (
  t: Test,
  { url, pool }: World,
  ...switched: readonly Leak[]
): Promise<FastifyInstance> {
  const has = (one: Leak): boolean => switched.includes(one)
  const app = Fastify({ logger: { level: 'info', stream: { write () {} } }, forceCloseConnections: true })
  t.teardown(() => app.close())
  await app.register(websocket)
  await app.register(tenancy, {
    baseDomain: 'example.com',
    database: { url, pool: { max: 4 } },
    rls: { secret },
    tables
  })

  const memory = {
    names: [] as string[],
    lists: new Map<string, unknown>(),
    counts: new Map<string, unknown>()
  }
  const sockets = new Map<string, Set<{ send(text: string): void }>>()
  const streams = new Map<string, Set<Readable>>()
  const jobs = new Map<string, unknown>()
  const hook = createServer((_request, response) => response.end()).listen(0, '127.0.0.1').unref()
  await once(hook, 'listening')
  t.teardown(() => hook.close())
  const hookUrl = `http://127.0.0.1:${(hook.address() as AddressInfo).port}`

  const everyProject = async (): Promise<Tables['projects'][]> =>
    (await pool.query<Tables['projects']>('select * from projects order by created_at desc limit 300')).rows
  const projectsOf = async (request: FastifyRequest): Promise<Tables['projects'][]> =>
    has('raw-sql')
      ? everyProject()
      : db(request).selectFrom('projects').selectAll().orderBy('id').limit(20).execute()

  app.get('/health', { config: { tenancy: 'off' } }, async () => ({ status: 'ok' }))

  app.get('/projects', async (request, reply) => {
    reply.header('cache-control', has('public-cache') ? 'public, max-age=60' : 'private, no-store')
    if (has('reply-header')) reply.header('x-newest', (await everyProject())[0]?.name ?? '')
    if (has('cookie')) reply.header('set-cookie', `last=${memory.names.at(-1) ?? ''}`)
    const { 'x-acting-for': actingFor } = request.headers
    if (has('header-tenant') && actingFor !== undefined)
      return (await pool.query('select name from projects where tenant_id::text = $1', [actingFor])).rows
    memory.names.push((await projectsOf(request))[0]?.name ?? '')
    if (has('log-line')) request.log.info({ rows: await everyProject() }, 'projects')
    if (has('owner-view')) return (await pool.query('select * from all_projects')).rows
    if (has('materialized-view')) {
      await pool.query('refresh materialized view project_names')
      return (await sql`select * from project_names`.execute(db(request))).rows
    }
    const key = has('cache-key') ? 'list' : request.tenant.id
    if (!memory.lists.has(key)) memory.lists.set(key, await projectsOf(request))
    return has('cache-key') ? memory.lists.get(key) : projectsOf(request)
  })

  app.get<{ Querystring: { q?: string; after?: string; tenant?: string } }>('/search', {
    schema: {
      querystring: { type: 'object', properties: { q: { type: 'string' }, after: { type: 'string' } } }
    }
  }, async request => {
    const { q = '', after, tenant } = request.query
    if (has('query-tenant') && tenant !== undefined)
      return (await pool.query('select name from projects where tenant_id::text = $1', [tenant])).rows
    if (has('search'))
      return (await pool.query('select name from projects where name like $1', [`%${q}%`])).rows
    if (has('cursor')) {
      const [next] = await everyProject()
      return { items: [], cursor: Buffer.from(JSON.stringify({ next: next?.id })).toString('base64url') }
    }
    return db(request).selectFrom('projects').select('name').where('name', 'like', `%${q}%`)
      .$if(after !== undefined, query => query.where('name', '>', after ?? '')).execute()
  })

  app.post<{ Body: { name: string; tenantId?: string } }>('/projects', {
    schema: body({ name, ...(has('body-id') && { tenantId: { type: 'string' } }) }, ['name'])
  }, async (request, reply) => {
    const { name, tenantId } = request.body
    if (has('body-id') && tenantId !== undefined) {
      await pool.query('insert into projects (tenant_id, name) values ($1::uuid, $2)', [tenantId, name])
        .catch(() => {})
      return reply.code(201).send({ name })
    }
    if (has('unique') && (await pool.query('select from projects where name = $1', [name])).rowCount !== 0)
      return reply.code(409).send({ error: 'taken' })
    const project = await db(request).insertInto('projects').values({ name } as never).returning(['id',
      'name']).executeTakeFirstOrThrow()
    memory.counts.delete(has('cached-count') ? 'never' : request.tenant.id)
    for (const socket of sockets.get(audience(request.tenant.id, has('websocket'))) ?? [])
      socket.send(JSON.stringify(project))
    for (const stream of streams.get(audience(request.tenant.id, has('events'))) ?? [])
      stream.push(`data: ${project.name}\n\n`)
    const targets = has('webhook') ? await everyProject() : []
    for (const { webhook_url: target } of targets.slice(0, 3))
      await fetch(hookUrl, { method: 'POST', body: JSON.stringify({ target, name }) }).catch(() => {})
    await fetch(hookUrl, { method: 'POST', body: JSON.stringify(project) }).catch(() => {})
    return reply.code(201).send(project)
  })

  app.get<Id>('/projects/:id', async (request, reply) => {
    const { id } = request.params
    if (!/^[0-9a-f-]{36}$/i.test(id)) return gone(reply)
    if (has('id-only'))
      return (await pool.query('select * from projects where id = $1', [id])).rows[0] ?? gone(reply)
    if (has('definer-function'))
      return (await sql`select * from find_project(${id}::uuid)`.execute(db(request))).rows[0] ?? gone(reply)
    const found = await db(request).selectFrom('projects').selectAll().where('id', '=', id).executeTakeFirst()
    if (found !== undefined) return found
    const { rows: [other] } = await pool.query('select * from projects where id = $1', [id])
    if (has('exists') && other !== undefined) return reply.code(403).send({ error: 'Forbidden' })
    if (has('error-body') && other !== undefined)
      return reply.code(403).send({ error: `${other.name} is not yours` })
    if (has('error-cause'))
      return reply.code(404).send({
        error: 'Not Found',
        similar: (await everyProject()).map(each => each.name)
      })
    if (has('location') && other !== undefined) return reply.redirect(`/by-name/${other.name}`)
    return gone(reply)
  })

  app.patch<Id & { Body: { name: string } }>('/projects/:id', {
    schema: { params: { type: 'object', properties: { id: uuid } }, ...body({ name }, ['name']) }
  }, async (request, reply) => {
    const { params: { id }, body: { name } } = request
    if (has('update')) await pool.query('update projects set name = $2 where id = $1', [id, name])
    const changed = await db(request).updateTable('projects').set({ name }).where('id', '=', id).returning(
      'id'
    ).executeTakeFirst()
    return changed ?? gone(reply)
  })

  app.post<{ Body: { ids: string[] } }>('/projects/delete', {
    schema: body({ ids: { type: 'array', items: uuid } }, ['ids'])
  }, async request => {
    if (has('bulk')) await pool.query('delete from projects where id = any ($1::uuid[])', [request.body.ids])
    else await db(request).deleteFrom('projects').where('id', 'in', request.body.ids).execute()
    return { done: true }
  })

  app.post<Id & { Body: { title: string } }>('/projects/:id/tasks', {
    schema: { params: { type: 'object', properties: { id: uuid } }, ...body({ title: name }, ['title']) }
  }, async (request, reply) => {
    const { params: { id }, body: { title } } = request
    const project = await db(request).selectFrom('projects').select('id').where('id', '=', id)
      .executeTakeFirst()
    if (project === undefined) return gone(reply)
    const task = await db(request).insertInto('tasks').values({ project_id: id, title } as never)
      .returning(['id', 'title', ...has('sequence') ? ['number' as const] : []]).executeTakeFirstOrThrow()
    return reply.code(201).send(task)
  })

  app.get('/stats', async (request, reply) => {
    const count = async (): Promise<number> =>
      has('count')
        ? Number((await pool.query('select count(*) as n from projects')).rows[0].n)
        : Number(
          (await db(request).selectFrom('projects').select(eb => eb.fn.countAll<string>().as('n'))
            .executeTakeFirstOrThrow()).n
        )
    const key = has('cached-count') ? 'count' : request.tenant.id
    if (has('cached-count') && !memory.counts.has(key)) memory.counts.set(key, await count())
    if (has('etag'))
      reply.header('etag', `"${(await pool.query('select count(*) as n from members')).rows[0].n}"`)
    return { projects: memory.counts.get(key) ?? await count() }
  })

  app.get('/export', async (request, reply) => {
    const rows = has('download') ? await everyProject() : await projectsOf(request)
    reply.header('content-type', 'text/csv').header('content-disposition', 'attachment')
    return Readable.from(rows.map(row => `${row.id},${row.name}\n`))
  })

  app.head('/size', async (_request, reply) => {
    const { rows: [row] } = await pool.query('select count(*) as n from members')
    return reply.header('content-length', has('head') ? String(1_000 + Number(row.n)) : '1000').send()
  })

  app.get('/recent', async request => {
    const own = has('memory') ? memory.names : []
    return { recent: own, tenant: request.tenant.id }
  })

  app.post<{ Body: { projectId: string } }>(
    '/jobs',
    { schema: body({ projectId: uuid }, ['projectId']) },
    async (request, reply) => {
      const { projectId } = request.body
      const id = request.tenant.id
      const envelope = app.tenancy.toEnvelope()
      setImmediate(async () => {
        const result = has('job')
          ? (await pool.query('select name from projects where id = $1', [projectId])).rows[0]
          : await app.tenancy.run(
            app.tenancy.fromEnvelope(envelope),
            ({ db }) =>
              (db as unknown as Kysely<Tables>).selectFrom('projects').select('name').where(
                'id',
                '=',
                projectId
              ).executeTakeFirst()
          ).catch(() => undefined)
        if (result !== undefined) jobs.set(id, result)
      })
      return reply.code(202).send({ queued: true })
    }
  )
  app.get('/jobs', async request => ({ last: jobs.get(request.tenant.id) ?? null }))

  app.get('/live', { websocket: true }, (socket, request) => {
    add(sockets, audience(request.tenant.id, has('websocket')), socket)
    socket.on('message', () => socket.send('ok'))
  })

  app.get('/events', (request, reply) => {
    const stream = new Readable({ read () {} })
    stream.push('data: hello\n\n')
    add(streams, audience(request.tenant.id, has('events')), stream)
    request.tenancy.detach()
    return reply.header('content-type', 'text/event-stream').send(stream)
  })

  app.get('/members', async request => db(request).selectFrom('members').select('email').limit(10).execute())
  await app.ready()
  return app
}
