// Ten kinds of leak that were thought of after the kit was written.
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import tenancy from 'fastify-tenancy'
import type { Kysely } from 'kysely'
import { createHash } from 'node:crypto'
import { brotliCompressSync, deflateRawSync, gzipSync } from 'node:zlib'
import type { Test } from 'tap'

import { secret, tables, type World } from './kit-world.ts'

interface Tables {
  projects: { id: string; name: string; created_at: Date }
  members: { id: string; email: string }
}

const db = (request: FastifyRequest): Kysely<Tables> => request.db as unknown as Kysely<Tables>
const object = (properties: object, required: string[] = []): object => ({
  type: 'object',
  required,
  properties
})
const text = { type: 'string' }

/** The leaks of {@link asideApp}, with what the report says of each. */
export const aside: Record<string, RegExp> = {
  'a name in capital letters and reversed words': /GET \/upper leaks/,
  'a value split over fields': /GET \/split leaks/,
  'a compressed reply with a content-encoding': /GET \/brotli leaks/,
  'a gzip inside base64 inside JSON': /GET \/packed leaks/,
  'the hash of a value of the victim': /POST \/hashed leaks/,
  'a trailer or a link header': /GET \/links leaks/,
  'a lock that the victim holds': /POST \/lock leaks/,
  'an idempotency key without a tenant': /POST \/pay leaks/,
  'a search that is cached by its words': /GET \/cached-search leaks/,
  'a merge of a body into what all share': /PATCH \/profile leaks/,
  'a method override': /POST \/override leaks/,
  'an upload by name': /PUT \/files\/:name leaks/,
  'a graphql-like list of ids in a text': /GET \/several leaks/,
  'a header with ids': /GET \/by-header leaks/,
  'a prefix of an id': /GET \/prefix\/:short leaks/,
  'a signed link that holds the tenant': /GET \/signed leaks/,
  'a last-modified of all tenants': /GET \/modified leaks/,
  'a list of slugs of tenants': /GET \/switch leaks/,
  'a query of many values': /GET \/filter leaks/,
  'the 500 of a value that another has': /POST \/invite leaks/
}

export async function asideApp (t: Test, { url, pool }: World): Promise<FastifyInstance> {
  const app = Fastify({ logger: { level: 'info', stream: { write () {} } } })
  t.teardown(() => app.close())
  await app.register(tenancy, {
    baseDomain: 'example.com',
    database: { url, pool: { max: 4 } },
    rls: { secret },
    tables
  })
  const every = async (): Promise<{ id: string; name: string; tenant_id: string; created_at: Date }[]> =>
    (await pool.query('select * from projects order by created_at desc limit 200')).rows

  app.get(
    '/upper',
    async () => (await every()).map(({ name }) => name.toUpperCase().split(' ').toReversed().join(' '))
  )
  app.get(
    '/split',
    async () => (await every()).map(({ name }) => ({ a: name.slice(0, 9), b: name.slice(9) }))
  )
  app.get(
    '/brotli',
    async (_request, reply) =>
      reply.header('content-encoding', 'br').header('content-type', 'application/json').send(
        brotliCompressSync(JSON.stringify(await every()))
      )
  )
  app.get('/packed', async () => ({ state: gzipSync(JSON.stringify(await every())).toString('base64') }))
  app.get(
    '/raw',
    async (_request, reply) =>
      reply.header('content-encoding', 'deflate').send(deflateRawSync(JSON.stringify(await every())))
  )
  app.post<{ Body: { email: string } }>(
    '/hashed',
    { schema: { body: object({ email: text }, ['email']) } },
    async ({ body }) => {
      const { rows } = await pool.query('select email from members')
      const hash = createHash('sha256').update(body.email).digest('hex')
      return { known: rows.some(({ email }) => createHash('sha256').update(email).digest('hex') === hash) }
    }
  )
  app.get(
    '/links',
    async (_request, reply) =>
      reply.header('link', `</projects/${(await every())[0]?.id ?? ''}>; rel="next"`).send({ done: true })
  )
  const held = new Set<string>()
  app.post<{ Body: { name: string } }>(
    '/lock',
    { schema: { body: object({ name: text }, ['name']) } },
    async ({ body }, reply) => {
      if (held.has(body.name)) return reply.code(423).send({ error: 'Locked' })
      held.add(body.name)
      return { done: true }
    }
  )
  const paid = new Map<unknown, unknown>()
  app.post('/pay', { schema: { body: object({}) } }, async ({ headers, tenant }) => {
    const key = headers['idempotency-key']
    if (key !== undefined && paid.has(key)) return paid.get(key)
    const receipt = { number: 7, of: tenant.name }
    if (key !== undefined) paid.set(key, receipt)
    return receipt
  })
  const searches = new Map<string, unknown>()
  app.get<{ Querystring: { q?: string } }>(
    '/cached-search',
    { schema: { querystring: object({ q: text }) } },
    async request => {
      const { q = '' } = request.query
      if (!searches.has(q))
        searches.set(
          q,
          await db(request).selectFrom('members').select('email').limit(3).execute()
        )
      return searches.get(q)
    }
  )
  const profile: Record<string, unknown> = {}
  app.patch<{ Body: object }>(
    '/profile',
    { schema: { body: object({ nick: text }) } },
    async ({ body }) => Object.assign(profile, body)
  )
  app.post<{ Body: { method: string; id: string } }>('/override', {
    schema: { body: object({ method: { enum: ['GET', 'DELETE'] }, id: text }, ['method', 'id']) }
  }, async ({ body }) => {
    if (body.method === 'DELETE') await pool.query('delete from projects where id::text = $1', [body.id])
    return { done: true }
  })
  const files = new Map<string, string>()
  app.put<{ Params: { name: string }; Body: { content: string } }>('/files/:name', {
    schema: { body: object({ content: text }, ['content']) }
  }, async ({ params, body }) => {
    const before = files.get(params.name)
    files.set(params.name, body.content)
    return { replaced: before !== undefined }
  })
  app.get<{ Querystring: { ids?: string } }>(
    '/several',
    { schema: { querystring: object({ ids: text }) } },
    async ({ query }) =>
      (await pool.query('select name from projects where id::text = any ($1)', [
        (query.ids ?? '').split(',')
      ])).rows
  )
  app.get(
    '/by-header',
    async ({ headers }) =>
      (await pool.query('select name from projects where id::text = $1', [headers['x-project-ref'] ?? '']))
        .rows
  )
  app.get<{ Params: { short: string } }>(
    '/prefix/:short',
    async ({ params }) =>
      (await pool.query('select name from projects where length($1) > 7 and id::text like $1 || $2', [
        params.short,
        '%'
      ])).rows
  )
  app.get<{ Querystring: { link?: string } }>('/signed', async ({ query, tenant }) => {
    const [of = ''] = Buffer.from(query.link ?? '', 'base64url').toString().split('|')
    const own = Buffer.from(`${tenant.slug}|x`).toString('base64url')
    const { rows } = await pool.query(
      'select p.name from projects p join tenancy.tenants t on t.id = p.tenant_id::text where t.slug = $1',
      [of]
    )
      .catch(() => ({ rows: [] }))
    return { own, rows }
  })
  app.get(
    '/modified',
    async (_request, reply) =>
      reply.header('last-modified', (await every())[0]?.created_at.toUTCString() ?? '').send({ done: true })
  )
  app.get(
    '/switch',
    { config: { tenancy: 'off' } },
    async () => (await pool.query('select slug from tenancy.tenants')).rows
  )
  app.get<{ Querystring: { id?: string | string[] } }>(
    '/filter',
    {
      schema: { querystring: object({ id: { type: 'array', items: { type: 'string', format: 'uuid' } } }) }
    },
    async ({ query }) =>
      (await pool.query('select name from projects where id = any ($1::uuid[])', [[query.id ?? []].flat()]))
        .rows
  )
  app.post<{ Body: { email: string } }>(
    '/invite',
    { schema: { body: object({ email: text }, ['email']) } },
    async ({ body }) => {
      if ((await pool.query('select from members where email = $1', [body.email])).rowCount)
        throw new Error(
          'unexpected'
        )
      return { done: true }
    }
  )
  app.get('/own', async request => db(request).selectFrom('projects').select('name').limit(20).execute())
  return app
}
